//! Rows are locked in one order everywhere: by their keys as bytes, whatever collation the database has.

use std::{fs, path::Path};

/// Tables of which every statement locks one row.
const SINGLE: [&str; 2] = ["tenant_lease", "request_number_state"];

#[test]
fn every_statement_that_locks_rows_does_so_in_the_order_of_bytes() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(".sqlx");
    let mut locking = 0;
    for file in fs::read_dir(directory).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        let query: serde_json::Value = serde_json::from_str(&text).unwrap();
        let query = query["query"].as_str().unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
        if SINGLE.iter().any(|table| query.contains(&format!("from {table}"))) {
            continue;
        }
        for lock in ["for no key update", "for update"] {
            for (at, _) in query.match_indices(lock).filter(|(at, _)| !query[*at..].contains("skip locked")) {
                locking += 1;
                assert!(query[..at].trim_end().ends_with(r#"key collate "C""#), "{query}");
            }
        }
        // An insertion that may meet rows which are there locks them as they come.
        let many = query.contains("on conflict") && query.contains("unnest(");
        if many && ["subject", "document", "report_item"].iter().any(|table| query.contains(&format!("into {table} ")))
        {
            locking += 1;
            assert!(query.contains(r#"key collate "C" on conflict"#), "{query}");
        }
    }
    assert!(locking > 10, "{locking} statements were looked at");
}
