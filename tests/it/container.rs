//! The image and the compose file, as far as they can be checked without an engine: every path, key, flag and package
//! that they name exists.

use std::{collections::HashMap, fs, path::Path, process::Command};

use cegid_indexer::settings::Settings;
use config::{Config, File, FileFormat};
use serde_json::Value;

const SIMULATOR: &str = include_str!("../../simulator/src/main.rs");

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("reading {name}: {error}"))
}

/// The instructions of the Dockerfile, continued lines joined.
fn instructions() -> Vec<(String, String)> {
    let text: Vec<String> =
        read("Dockerfile").lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
    text.join("\n")
        .replace("\\\n", " ")
        .lines()
        .filter_map(|line| line.trim().split_once(' '))
        .map(|(name, rest)| (name.to_owned(), rest.split_whitespace().collect::<Vec<_>>().join(" ")))
        .collect()
}

/// The compose file, with its `<<` merged as an engine does.
fn compose() -> Value {
    let file = File::from_str(&read("docker-compose.yml"), FileFormat::Yaml);
    let mut compose: Value = Config::builder().add_source(file).build().unwrap().try_deserialize().unwrap();
    for service in compose["services"].as_object_mut().unwrap().values_mut().filter_map(Value::as_object_mut) {
        if let Some(Value::Object(shared)) = service.remove("<<") {
            for (name, value) in shared {
                service.entry(name).or_insert(value);
            }
        }
    }
    compose
}

fn has_flags(arguments: &[Value], source: &str) {
    for flag in arguments.iter().filter_map(|argument| argument.as_str()?.strip_prefix("--")) {
        assert!(source.contains(&format!("    {}: ", flag.replace('-', "_"))), "--{flag} is no option");
    }
}

#[test]
fn what_the_image_copies_exists_and_is_in_the_context() {
    let allowed = read(".dockerignore");
    let allowed: Vec<&str> = allowed.lines().filter_map(|line| line.strip_prefix('!')).collect();
    let mut copied = 0;
    for (name, rest) in instructions() {
        if name != "COPY" || rest.starts_with("--from=") {
            continue;
        }
        let paths: Vec<&str> = rest.split(' ').collect();
        for source in &paths[..paths.len() - 1] {
            assert!(root().join(source).exists(), "COPY {source}: no such path");
            let inside = |entry: &&str| source == entry || source.starts_with(&format!("{entry}/"));
            assert!(allowed.iter().any(inside), "COPY {source}: .dockerignore keeps it out");
            copied += 1;
        }
    }
    assert!(copied >= 9, "{copied}");
    for entry in allowed {
        assert!(root().join(entry).exists(), ".dockerignore: {entry} is no path");
    }
}

#[test]
fn what_the_image_copies_is_what_the_build_needs() {
    let dockerfile = read("Dockerfile");
    let manifest = read("Cargo.toml");
    let members = manifest.split_once("members = [").and_then(|(_, rest)| rest.split_once(']')).unwrap().0;
    for member in members.split(',').map(|name| name.trim().trim_matches('"')) {
        assert!(dockerfile.contains(&format!("COPY {member}/Cargo.toml {member}/")), "the manifest of {member}");
        assert!(dockerfile.contains(&format!(" {member} ")) || dockerfile.contains(&format!(" {member};")), "{member}");
    }
    for (name, rest) in instructions() {
        if name != "RUN" || !rest.contains("cargo build") {
            continue;
        }
        assert!(rest.contains("--locked") && rest.contains("--release"), "{rest}");
        let service = rest.contains("-p cegid-indexer");
        assert!(service || rest.contains("-p cegid-simulator"), "{rest}");
        assert_eq!(service, rest.contains("--no-default-features"), "the demo stays out of the image: {rest}");
    }
}

#[test]
fn commands_and_stages_of_the_image_exist() {
    let instructions = instructions();
    let stages: Vec<&str> = instructions
        .iter()
        .filter(|(name, _)| name == "FROM")
        .filter_map(|(_, rest)| rest.split_once(" AS ").map(|(_, stage)| stage))
        .collect();
    assert_eq!(stages.last(), Some(&"service"), "a build without a target makes the last one");
    for (name, rest) in &instructions {
        if let Some(from) = rest.strip_prefix("--from=") {
            let stage = from.split(' ').next().unwrap();
            assert!(stages.contains(&stage), "{name} {rest}");
        }
    }
    let help = |command: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_cegid-indexer")).args([command, "--help"]).output().unwrap();
        assert!(output.status.success(), "cegid-indexer {command} is no command");
    };
    let dockerfile = read("Dockerfile");
    for command in ["serve", "healthcheck"] {
        assert!(dockerfile.contains(&format!("\"{command}\"]")));
        help(command);
    }
    let arguments = dockerfile.split('"').filter(|part| part.starts_with("--")).map(Value::from).collect::<Vec<_>>();
    assert!(!arguments.is_empty());
    has_flags(&arguments, SIMULATOR);
}

#[test]
fn the_services_of_the_compose_file_fit_together() {
    let compose = compose();
    let stages = read("Dockerfile");
    let services = compose["services"].as_object().unwrap();
    for (name, service) in services {
        if let Some(target) = service["build"]["target"].as_str() {
            assert!(stages.contains(&format!(" AS {target}\n")), "{name}: no stage {target}");
        } else {
            assert_eq!(service["image"], "postgres:16", "{name}");
            assert!(service["healthcheck"]["test"].is_array(), "{name}");
        }
        for (other, how) in service["depends_on"].as_object().into_iter().flatten() {
            assert!(services.contains_key(other), "{name} depends on {other}");
            assert_eq!(how["condition"], "service_healthy", "{name} waits until {other} is");
            let without_profile = service["profiles"].is_null();
            assert!(!without_profile || services[other]["profiles"].is_null(), "{name} always runs, {other} does not");
        }
        for port in service["ports"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let operators = port.ends_with(":9090") || port.ends_with(":8600");
            assert!(!operators || port.starts_with("127.0.0.1:"), "{name} shows operators' port {port} to the network");
        }
        for volume in service["volumes"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let source = volume.split(':').next().unwrap();
            assert!(source.starts_with("./") || compose["volumes"].as_object().unwrap().contains_key(source));
        }
    }
    has_flags(services["simulator"]["command"].as_array().unwrap(), SIMULATOR);
    assert_eq!(compose["networks"]["database"]["internal"], true);
    for (name, service) in services {
        let address = service["environment"]["CEGID_INDEXER__DATABASE__URL"].as_str();
        if service["image"] == "postgres:16" {
            assert_eq!(service["networks"], serde_json::json!(["database"]), "{name}");
        } else if let Some(address) = address {
            assert!(address.ends_with("?sslmode=disable"), "{name}: plain text is named");
            assert_eq!(service["networks"], serde_json::json!(["default", "database"]), "{name}");
        }
    }
}

/// What a container gets: of the image, then of the compose file with its variables at their defaults.
fn environment(service: &Value) -> HashMap<String, String> {
    let mut environment = HashMap::new();
    for (name, rest) in instructions() {
        if let Some((key, value)) = rest.split_once('=').filter(|(key, _)| name == "ENV" && key.contains("__")) {
            environment.insert(key.to_owned(), value.to_owned());
        }
    }
    for (key, value) in service["environment"].as_object().unwrap() {
        let value = value.as_str().unwrap().replace("${POSTGRES_PASSWORD:-cegid_indexer}", "cegid_indexer");
        assert!(!value.contains("${"), "{key}: {value}");
        environment.insert(key.clone(), value);
    }
    environment
}

#[test]
fn the_services_understand_the_settings_they_are_given() {
    let compose = compose();
    let idle = Settings::load(None, environment(&compose["services"]["indexer"])).expect("without a tenant");
    assert!(idle.tenants.is_empty());
    assert!(idle.ops.bind.ip().is_unspecified(), "the published port is reached");

    let demo = Settings::load(None, environment(&compose["services"]["demo"])).expect("with the simulator's tenant");
    let tenant = demo.tenants.values().next().expect("one tenant");
    let simulator = cegid_simulator::Config::default();
    assert_eq!(tenant.client_id, simulator.client_id);
    assert_eq!(tenant.client_secret.expose(), simulator.client_secret);
    assert_eq!(tenant.base_url.as_str(), "http://simulator:8600/");
    let listen = compose["services"]["simulator"]["command"][1].as_str().unwrap();
    assert_eq!(listen, "0.0.0.0:8600");
    assert_eq!(demo.public_url.unwrap().as_str(), format!("http://demo:{}/", demo.receive.bind.port()));
    let grace = compose["services"]["demo"]["stop_grace_period"].as_str().unwrap();
    let grace: u64 = grace.trim_end_matches('s').parse().unwrap();
    assert!(grace > (demo.shutdown.announce + demo.shutdown.drain).as_secs(), "a stop is not cut short");
}
