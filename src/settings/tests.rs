use std::io::Write;

use super::*;

fn environment(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| (format!("CEGID_INDEXER__{key}"), (*value).to_owned())).collect()
}

const ACME: [(&str, &str); 5] = [
    ("DATABASE__URL", "postgres://localhost/cegid"),
    ("PUBLIC_URL", "https://indexer.example.com/hooks"),
    ("TENANTS__ACME__BASE_URL", "https://acme.example.com"),
    ("TENANTS__ACME__CLIENT_ID", "11111111-2222-3333-4444-555555555555"),
    ("TENANTS__ACME__CLIENT_SECRET", "00123"),
];

fn keys(problems: &[Problem]) -> Vec<&str> {
    let mut keys: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn a_tenant_from_the_environment_has_the_defaults() {
    let settings = Settings::load(None, environment(&ACME)).unwrap();
    let tenant = &settings.tenants[&"acme".parse().unwrap()];
    assert_eq!(tenant.client_secret.expose(), "00123");
    assert_eq!(tenant.scope, "MatchingIndexation");
    assert_eq!(tenant.paths.token, "/api/token");
    assert_eq!(tenant.events.len(), 8);
}

#[test]
fn lists_and_numbers_can_come_from_the_environment() {
    let mut pairs = environment(&ACME);
    pairs.extend(environment(&[
        ("TENANTS__ACME__EVENTS", "vacancy_new, vacancy_update"),
        ("TENANTS__ACME__REFERENTIAL_LANGUAGES", "1036"),
        ("EXPORT__PAGE_SIZE", "50"),
        ("RECEIVE__PROXIES", "10.0.3.0/24, 2001:db8::7"),
    ]));
    let settings = Settings::load(None, pairs).unwrap();
    let tenant = &settings.tenants[&"acme".parse().unwrap()];
    assert_eq!(tenant.events, ["vacancy_new", "vacancy_update"]);
    assert_eq!(tenant.referential_languages, [1036]);
    assert_eq!(settings.export.page_size, 50);
    assert_eq!(settings.receive.proxies, ["10.0.3.0/24".parse().unwrap(), "2001:db8::7/128".parse().unwrap()]);
}

#[test]
fn everything_that_is_wrong_is_reported_at_once() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    write!(
        file,
        r#"
        public_url = "indexer.example.com"
        [receive]
        bind = "everywhere"
        body_limit = "much"
        body_timeout = "soon"
        proxies = ["10.0.3.0/24", "10.0.3.0/33"]
        colour = "blue"
        [database]
        url_file = "/nonexistent/url"
        [export]
        page_size = 101
        [tenants.acme]
        base_url = "http://acme.example.com"
        [tenants.ACME-FR]
        base_url = "https://fr.example.com"
        client_id = "a"
        client_secret = "b"
        [tenants.other]
        base_url = "https://other.example.com"
        client_id = "a"
        client_secret = "b"
        report_type_case = "upper"
        attachments = "all"
        attachment_limit = 67108865
        [tenants.third]
        base_url = "https://third.example.com"
        client_id = "a"
        client_secret = "b"
        calls_at_once = 0
        "#
    )
    .unwrap();
    let problems = Settings::load(Some(file.path()), []).unwrap_err();
    let expected = [
        "database.url",
        "database.url_file",
        "export.page_size",
        "public_url",
        "public_url",
        "receive.bind",
        "receive.body_limit",
        "receive.body_timeout",
        "receive.colour",
        "receive.proxies",
        "tenants.ACME-FR",
        "tenants.acme.base_url",
        "tenants.acme.client_id",
        "tenants.acme.client_secret",
        "tenants.other.attachment_limit",
        "tenants.other.attachments",
        "tenants.other.report_type_case",
        "tenants.third.calls_at_once",
        "tenants.third.client_id",
    ];
    assert_eq!(keys(&problems), expected, "{problems:#?}");
}

/// What only another module can judge is said at once too.
#[test]
fn an_address_of_the_database_and_a_level_are_judged_with_the_rest() {
    for level in ["warning", "inof", "info,cegid_indexer", "cegid_indexer=loud"] {
        let wrong = [("DATABASE__URL", "mysql://x"), ("LOG__LEVEL", level), ("WORKER__LEASE", "1s")];
        let problems = Settings::load(None, environment(&wrong)).unwrap_err();
        assert_eq!(keys(&problems), ["database.url", "log.level", "worker.lease"], "{level}: {problems:#?}");
    }
    for level in ["WARN", "info,cegid_indexer=debug", "cegid_indexer[span]=trace, off"] {
        let pairs = environment(&[("DATABASE__URL", "postgres://localhost/x"), ("LOG__LEVEL", level)]);
        assert!(Settings::load(None, pairs).is_ok(), "{level}");
    }
}

#[test]
fn a_problem_names_the_environment_variable() {
    let problems = Settings::load(None, []).unwrap_err();
    assert_eq!(
        problems[0].to_string(),
        "database.url: missing: set it, or the same key with _file (in the environment: CEGID_INDEXER__DATABASE__URL)"
    );
}

#[test]
fn a_secret_file_is_read_without_its_last_newline() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "s3cret ").unwrap();
    let mut pairs = environment(&ACME);
    pairs.retain(|(key, _)| !key.ends_with("CLIENT_SECRET"));
    let path = file.path().to_str().unwrap();
    pairs.extend(environment(&[("TENANTS__ACME__CLIENT_SECRET_FILE", path)]));
    let settings = Settings::load(None, pairs).unwrap();
    assert_eq!(settings.tenants[&"acme".parse().unwrap()].client_secret.expose(), "s3cret ");
}

#[test]
fn a_value_and_a_file_for_it_are_one_too_many() {
    let mut pairs = environment(&ACME);
    pairs.extend(environment(&[("TENANTS__ACME__CLIENT_SECRET_FILE", "/etc/hostname")]));
    let problems = Settings::load(None, pairs).unwrap_err();
    assert_eq!(keys(&problems), ["tenants.acme.client_secret_file"]);
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let problems = Settings::load(Some(Path::new("/nonexistent/cegid.toml")), []).unwrap_err();
    assert_eq!(problems[0].key, "/nonexistent/cegid.toml");
}

#[test]
fn debug_shows_no_secret() {
    let settings = Settings::load(None, environment(&ACME)).unwrap();
    let shown = format!("{settings:?}");
    assert!(!shown.contains("00123") && !shown.contains("postgres://localhost"));
}

#[test]
fn no_tenant_is_no_problem() {
    let settings = Settings::load(None, environment(&[("DATABASE__URL", "postgres://localhost/cegid")])).unwrap();
    assert!(settings.tenants.is_empty() && settings.public_url.is_none());
}

#[test]
fn hours_and_time_zones_are_read_and_what_is_none_is_named() {
    let mut pairs = environment(&ACME);
    pairs.extend(environment(&[
        ("TENANTS__ACME__BULK_HOURS", "20:00-06:00"),
        ("TENANTS__ACME__TIME_ZONE", "Europe/Paris"),
    ]));
    let settings = Settings::load(None, pairs.clone()).unwrap();
    let tenant = &settings.tenants[&"acme".parse().unwrap()];
    assert_eq!(tenant.time_zone, Some(chrono_tz::Tz::Europe__Paris));
    assert!(!tenant.bulk_permitted("2026-07-15T12:00:00Z".parse().unwrap()));
    pairs.extend(environment(&[("TENANTS__ACME__BULK_HOURS", "at night"), ("TENANTS__ACME__TIME_ZONE", "Paris")]));
    let problems = Settings::load(None, pairs).unwrap_err();
    assert_eq!(keys(&problems), ["tenants.acme.bulk_hours", "tenants.acme.time_zone"]);
}

#[test]
fn a_file_that_cannot_be_parsed_is_not_quoted() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    write!(file, "[tenants.acme]\nclient_secret = \"do-not-show\nclient_id = 1\n").unwrap();
    let problems = Settings::load(Some(file.path()), environment(&ACME)).unwrap_err();
    let says = format!("{problems:?}");
    assert!(says.contains("line 2") && !says.contains("do-not-show"), "{says}");
}

/// The keys of `config/default.toml` whose values are times, as the environment names them.
fn times() -> Vec<String> {
    let (mut table, mut keys) = (String::new(), Vec::new());
    for line in include_str!("../../config/default.toml").lines() {
        if let Some(name) = line.strip_prefix('[') {
            table = name.split(']').next().unwrap().replace('.', "__").to_uppercase() + "__";
        } else if let Some((key, value)) = line.split_once(" = \"")
            && humantime_serde::re::humantime::parse_duration(value.split('"').next().unwrap()).is_ok()
        {
            keys.push(format!("{table}{}", key.trim().to_uppercase()));
        }
    }
    keys
}

#[test]
fn no_time_is_so_long_that_it_cannot_be_added_to_another() {
    let times = times();
    assert!(times.len() > 30, "{times:?}");
    for key in times {
        for long in ["101years", "500000years", "584554531years"] {
            let mut pairs = environment(&ACME);
            pairs.extend(environment(&[(&key, long)]));
            let problems = Settings::load(None, pairs).unwrap_err();
            assert!(!problems.is_empty(), "{key} = {long}");
        }
    }
}

#[test]
fn a_time_that_the_server_would_take_for_no_limit_or_refuse_is_named() {
    for (key, names) in [
        ("DATABASE__STATEMENT_TIMEOUT", "database.statement_timeout"),
        ("DATABASE__LOCK_TIMEOUT", "database.lock_timeout"),
        ("RECEIVE__COMMIT_TIMEOUT", "receive.commit_timeout"),
    ] {
        for wrong in ["0s", "100us", "30d"] {
            let mut pairs = environment(&ACME);
            pairs.extend(environment(&[(key, wrong)]));
            assert_eq!(keys(&Settings::load(None, pairs).unwrap_err()), [names], "{wrong}");
        }
    }
}
