//! The durable state of one instance, in an SQLite file.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use thiserror::Error;

pub const FILE_NAME: &str = "broletto.sqlite";
const CONNECTIONS_MAX: u32 = 4;

#[derive(Debug, Error)]
pub enum StoreError {
    #[error("the database: {0}")]
    Sql(#[from] sqlx::Error),
    #[error("the database's schema: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
}

/// Changes of the live state: the new value of each key, or None where it is removed.
pub type Changes = BTreeMap<String, Option<String>>;

#[derive(Clone)]
pub struct Store {
    pool: SqlitePool,
}

impl Store {
    /// Opens `data_dir`'s database, making or upgrading it first.
    pub async fn open(data_dir: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(data_dir.join(FILE_NAME))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // In WAL mode this loses nothing when the process dies, and keeps the file whole
            // when the machine does.
            .synchronous(SqliteSynchronous::Normal);
        let pool = SqlitePoolOptions::new().max_connections(CONNECTIONS_MAX).connect_with(options).await?;
        sqlx::migrate!("./migrations").run(&pool).await?;
        Ok(Store { pool })
    }

    /// The whole live state, in the order of its keys.
    pub async fn live_state(&self) -> Result<Vec<(String, String)>, StoreError> {
        let sql = "SELECT key, value FROM live_state ORDER BY key";
        Ok(sqlx::query_as(sql).fetch_all(&self.pool).await?)
    }

    /// All of them or none.
    pub async fn write(&self, changes: &Changes) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin().await?;
        for (key, value) in changes {
            match value {
                Some(value) => {
                    let sql = "INSERT INTO live_state (key, value) VALUES (?1, ?2)
                               ON CONFLICT (key) DO UPDATE SET value = ?2";
                    sqlx::query(sql).bind(key).bind(value).execute(&mut *transaction).await?;
                }
                None => {
                    let sql = "DELETE FROM live_state WHERE key = ?";
                    sqlx::query(sql).bind(key).execute(&mut *transaction).await?;
                }
            }
        }
        Ok(transaction.commit().await?)
    }

    /// Newest first.
    pub async fn signing_keys(&self) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let sql = "SELECT kid, secret FROM signing_keys ORDER BY made_at DESC, kid";
        Ok(sqlx::query_as(sql).fetch_all(&self.pool).await?)
    }

    pub async fn add_signing_key(&self, kid: &str, secret: &[u8]) -> Result<(), StoreError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let sql = "INSERT INTO signing_keys (kid, secret, made_at) VALUES (?, ?, ?)";
        sqlx::query(sql).bind(kid).bind(secret).bind(now as i64).execute(&self.pool).await?;
        Ok(())
    }

    /// Whether the database answers.
    pub async fn is_ready(&self) -> bool {
        sqlx::query("SELECT 1").execute(&self.pool).await.is_ok()
    }

    pub async fn close(&self) {
        self.pool.close().await;
    }

    #[cfg(test)]
    pub(crate) async fn execute(&self, sql: &'static str) {
        sqlx::query(sql).execute(&self.pool).await.expect("the test's own statement");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[tokio::test]
    async fn changes_are_kept_and_found_by_the_next_process() {
        let dir = Scratch::new("store");
        let put = |key: &str, value: &str| (key.to_owned(), Some(value.to_owned()));
        let quoted = "room/'; DROP TABLE live_state; --";
        let store = Store::open(dir.path()).await.expect("opened");
        store.write(&[put("room/a", "1"), put("room/b", "1")].into()).await.expect("written");
        let remove = ("room/b".to_owned(), None);
        store.write(&[remove, put(quoted, "3"), put("room/a", "2")].into()).await.expect("written");
        store.close().await;

        let store = Store::open(dir.path()).await.expect("opened again");
        let state = store.live_state().await.expect("read");
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(state, [pair(quoted, "3"), pair("room/a", "2")]);
    }

    #[tokio::test]
    async fn w8_what_people_type_is_kept_as_it_is_and_never_read_as_sql() {
        let dir = Scratch::new("typed");
        let store = Store::open(dir.path()).await.expect("opened");
        let typed = [
            "'; DROP TABLE live_state; --",
            "\" OR 1=1",
            "%_*?[a]",
            "$(reboot) `reboot` | reboot",
            "Anna\r\nBcc: all@example.org",
            "\u{202e}\u{0}\u{1b}[2J",
        ];
        let changes: Changes =
            typed.iter().map(|text| (format!("room/{text}"), Some((*text).to_owned()))).collect();
        store.write(&changes).await.expect("written");
        let mut expected: Vec<_> =
            typed.iter().map(|text| (format!("room/{text}"), (*text).to_owned())).collect();
        let mut state = store.live_state().await.expect("read");
        expected.sort();
        state.sort();
        assert_eq!(state, expected);
    }

    #[tokio::test]
    async fn what_is_not_a_database_is_an_error() {
        let dir = Scratch::new("broken-store");
        std::fs::write(dir.path().join(FILE_NAME), "not a database, but long enough ".repeat(64))
            .expect("written");
        assert!(Store::open(dir.path()).await.is_err());
    }
}
