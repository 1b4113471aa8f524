//! What a settlement has written, in numbers.

/// What was written.
#[derive(Debug, Default)]
pub struct Written {
    /// Documents that were written.
    pub indexed: usize,
    /// Records that showed what the index held.
    pub same: usize,
    /// Outcomes that were noted for reporting.
    pub noted: usize,
    /// Keys that were removed.
    pub removed: usize,
    /// Keys whose removal waits for an operator, because too many vanish.
    pub held: usize,
    /// Keys whose removal waits for an operator, because no other record is left that could prove it.
    pub unproven: usize,
    /// Documents that were searchable and are hidden, because their status is not live.
    pub hidden: usize,
    /// Records without a readable status.
    pub status_unknown: usize,
    /// Keys that are hidden because it is unclear whether they are anonymised.
    pub unclear: usize,
    /// Keys that were buried.
    pub buried: usize,
    /// Keys that a newer read had settled.
    pub superseded: usize,
    /// Keys whose data the database refused, and why: nothing was written about them.
    pub unstorable: Vec<(String, String)>,
}

impl Written {
    /// And this.
    pub fn add(&mut self, part: Written) {
        self.indexed += part.indexed;
        self.same += part.same;
        self.noted += part.noted;
        self.removed += part.removed;
        self.held += part.held;
        self.unproven += part.unproven;
        self.hidden += part.hidden;
        self.status_unknown += part.status_unknown;
        self.unclear += part.unclear;
        self.buried += part.buried;
        self.superseded += part.superseded;
        self.unstorable.extend(part.unstorable);
    }
}
