//! How many connections the files permit that the process may open: each connection is one.

use tracing::{info, warn};

use crate::settings::Settings;

/// Places of the operators' listener.
const OPERATORS_CONNECTIONS: usize = 128;
/// Files beside connections: logs, the runtimes, settings that are read, temporary files.
const OTHER_FILES: usize = 64;
/// Connections to a tenant's Cegid, and temporary files of its answers.
const FILES_OF_A_TENANT: usize = 8;
/// A connection that was accepted and waits for its place; one of each listener.
const ACCEPTED: usize = 2;

/// Places of the listeners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fitted {
    pub(super) public: usize,
    pub(super) operators: usize,
}

/// Fits `receive.connections` to the number of files that may be open, none when there is no limit.
pub(super) fn fit(settings: &Settings, files: Option<u64>) -> Fitted {
    let wanted = settings.receive.connections;
    let Some(files) = files else { return Fitted { public: wanted, operators: OPERATORS_CONNECTIONS } };
    let others = OTHER_FILES
        + ACCEPTED
        + usize::try_from(settings.database.connections).unwrap_or(usize::MAX)
        + FILES_OF_A_TENANT * settings.tenants.len();
    let left = usize::try_from(files).unwrap_or(usize::MAX).saturating_sub(others);
    let operators = OPERATORS_CONNECTIONS.min(left / 4).max(1);
    let public = wanted.min(left.saturating_sub(operators)).max(1);
    if public < wanted {
        warn!(
            files,
            wanted,
            public,
            operators,
            "fewer connections than receive.connections: the process may not open enough files, see LimitNOFILE and ulimit -n"
        );
    } else {
        info!(files, public, operators, "places for connections");
    }
    Fitted { public, operators }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_fitted_to_the_files_that_may_be_open() {
        let url = ("CEGID_INDEXER__DATABASE__URL".to_owned(), "postgres://localhost/cegid".to_owned());
        let settings = Settings::load(None, [url]).unwrap();
        let fitted = |files| {
            let Fitted { public, operators } = fit(&settings, files);
            (public, operators)
        };
        assert_eq!(fitted(None), (2048, 128));
        assert_eq!(fitted(Some(1 << 20)), (2048, 128));
        // 72 of them are for other files.
        assert_eq!(fitted(Some(1024)), (824, 128));
        assert_eq!(fitted(Some(272)), (150, 50));
        assert_eq!(fitted(Some(3)), (1, 1));
    }
}
