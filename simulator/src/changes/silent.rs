//! Changes that nobody is told of: what only a read of the exports can find.

use super::{Change, Changed, UnknownKey};
use crate::simulator::Simulator;
use crate::tenant::Kind;

impl Simulator {
    /// Makes one change without telling anybody, and gives the key of what was
    /// changed.
    ///
    /// # Errors
    ///
    /// When the key is not known.
    pub fn change_silently(&self, change: &Change) -> Result<String, UnknownKey> {
        self.make(change).map(|row| row.key.to_string())
    }

    /// A new published vacancy or a new candidate that is not announced, `kind`
    /// being `vacancy` or `candidate`. Gives its key.
    #[must_use = "the key is the only way to it"]
    pub fn create_silently(&self, kind: &str) -> String {
        self.add(Kind::named(kind)).key.to_string()
    }

    /// Changes the words of a vacancy or a candidate without telling anybody.
    ///
    /// # Errors
    ///
    /// When neither a vacancy nor a candidate has the key.
    pub fn edit_silently(&self, key: &str) -> Changed {
        self.make_silently(&Change::EditVacancy { key: key.to_owned() })
            .or_else(|_| self.make_silently(&Change::EditCandidate { key: key.to_owned() }))
    }

    /// Takes a vacancy or a candidate out of the export without telling anybody.
    ///
    /// # Errors
    ///
    /// When neither a vacancy nor a candidate has the key.
    pub fn delete_silently(&self, key: &str) -> Changed {
        self.make_silently(&Change::DeleteVacancy { key: key.to_owned() })
            .or_else(|_| self.make_silently(&Change::DeleteCandidate { key: key.to_owned() }))
    }

    /// Empties a candidate of what is personal without telling anybody.
    ///
    /// # Errors
    ///
    /// When the key is not known.
    pub fn anonymise_silently(&self, key: &str) -> Changed {
        self.make_silently(&Change::AnonymiseCandidate { key: key.to_owned() })
    }

    /// Gives a vacancy a status, by its code or its logical name, without telling
    /// anybody.
    ///
    /// # Errors
    ///
    /// When the key is not known.
    pub fn set_vacancy_status_silently(&self, key: &str, status: &str) -> Changed {
        self.make_silently(&Change::SetVacancyStatus { key: key.to_owned(), status: status.to_owned() })
    }

    fn make_silently(&self, change: &Change) -> Changed {
        self.make(change).map(|row| row.version)
    }
}
