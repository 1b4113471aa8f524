//! Statements about many rows, repeated for a few rows at a time: receiving goes on beside them.

/// Rows that one statement deletes.
pub const ROWS_DELETED: i64 = 5_000;
/// Rows that one statement locks and changes: a callback that names one of them waits for its end.
pub const ROWS_CHANGED: i64 = 1_000;

/// Repeats a statement, which is given how many rows it may take and returns how many it took, until it takes fewer.
/// Returns how many it took in all.
///
/// # Errors
/// When the database cannot be used; what was done by then stays so.
pub async fn in_batches<F>(rows: i64, statement: impl Fn(i64) -> F) -> sqlx::Result<u64>
where
    F: Future<Output = sqlx::Result<u64>>,
{
    let mut total = 0;
    loop {
        let taken = statement(rows).await?;
        total += taken;
        if taken < rows.unsigned_abs() {
            return Ok(total);
        }
    }
}
