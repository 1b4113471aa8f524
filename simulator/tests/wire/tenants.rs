//! The binary with several tenants.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use reqwest::{Client, StatusCode};
use serde_json::Value;

/// Ends the process with the test, however the test ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let ended = self.0.kill().and_then(|()| self.0.wait());
        assert!(ended.is_ok() || std::thread::panicking(), "the binary did not end");
    }
}

/// What the binary prints of each tenant: URL, client id, secret, seed.
fn printed(output: &mut impl BufRead, tenants: usize) -> Vec<[String; 4]> {
    let mut lines = output.lines();
    let mut value = |name: &str| {
        let line = lines.find_map(|line| line.expect("text").strip_prefix(name).map(str::to_owned));
        line.expect("a line").split_whitespace().last().expect("a value").to_owned()
    };
    (0..tenants).map(|_| ["tenant ", "client ", "secret ", "seed "].map(&mut value)).collect()
}

#[tokio::test]
async fn tenants_in_one_process_know_nothing_of_each_other() {
    let arguments = ["--listen", "127.0.0.1:0", "--tenants", "3", "--vacancies", "9", "--candidates", "3"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_cegid-simulator"));
    let command = command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut running = Running(command.spawn().expect("the binary"));
    // Held to the end: it prints more, and would die of a pipe that is closed.
    let mut output = BufReader::new(running.0.stdout.take().expect("its output"));
    let tenants = printed(&mut output, 3);
    let client = Client::builder().no_proxy().build().expect("a client");
    let mut titles = Vec::new();
    for (place, [url, ..]) in tenants.iter().enumerate() {
        for (other, [_, client_id, secret, _]) in tenants.iter().enumerate() {
            let form = [("grant_type", "client_credentials"), ("client_id", client_id), ("client_secret", secret)];
            let answer = client.post(format!("{url}/api/token")).form(&form).send().await.expect("an answer");
            let wanted = if place == other { StatusCode::OK } else { StatusCode::BAD_REQUEST };
            assert_eq!(answer.status(), wanted, "{place} {other}");
        }
        let change = r#"{"do":"create_vacancy"}"#;
        client.post(format!("{url}/control/changes")).body(change).send().await.expect("an answer");
        let ask = async |path: &str| -> Value {
            let answer = client.get(format!("{url}/control/{path}")).send().await.expect("an answer");
            answer.json().await.expect("JSON")
        };
        let summary = ask("summary").await;
        assert_eq!(summary["tenant"], format!("tenant-{}", place + 1));
        assert_eq!(summary["vacancies"]["present"], 10);
        titles.push(ask("truth?kind=vacancy").await);
    }
    assert_eq!(tenants.iter().map(|[.., seed]| seed.as_str()).collect::<Vec<_>>(), ["1", "2", "3"]);
    assert!(titles[0] != titles[1] && titles[1] != titles[2]);
}
