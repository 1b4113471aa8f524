//! Deleting many rows a few at a time.

use sqlx::postgres::PgQueryResult;

/// Rows of one statement: receiving goes on beside it.
const ROWS_PER_STATEMENT: i64 = 5_000;

/// Repeats a deletion, which is given how many rows it may delete, until it finds fewer. Gives how many were deleted.
///
/// # Errors
/// When the database cannot be used; what was deleted by then stays so.
pub async fn delete_in_batches<F>(delete: impl Fn(i64) -> F) -> sqlx::Result<u64>
where
    F: Future<Output = sqlx::Result<PgQueryResult>>,
{
    let mut deleted = 0;
    loop {
        let rows = delete(ROWS_PER_STATEMENT).await?.rows_affected();
        deleted += rows;
        if rows < ROWS_PER_STATEMENT.unsigned_abs() {
            return Ok(deleted);
        }
    }
}
