//! Bookkeeping of the extended protocol: the unnamed statement, portals, and skipping after an error until Sync. Named
//! statements are the session's, because PREPARE and DEALLOCATE work on them, too.
//!
//! Generic over what a statement and a portal are, so that tests can drive it without a database.

use hashbrown::HashMap;
use omen_sql::error::{SqlError, SqlState};

use super::frontend::kind;

/// Named portals of one session.
pub const PORTALS_MAX: usize = 4_096;

/// The unnamed statement and the portals of one session.
#[derive(Debug)]
pub struct Extended<S, P> {
    statement_unnamed: Option<S>,
    portals: HashMap<Box<str>, P>,
    portal_unnamed: Option<P>,
    is_skipping: bool,
}

impl<S, P> Default for Extended<S, P> {
    fn default() -> Extended<S, P> {
        Extended {
            statement_unnamed: None,
            portals: HashMap::new(),
            portal_unnamed: None,
            is_skipping: false,
        }
    }
}

/// Whether an error in a message of this kind makes all others up to Sync be skipped.
pub fn skips_after_error(kind: u8) -> bool {
    matches!(kind, kind::PARSE | kind::BIND | kind::DESCRIBE | kind::EXECUTE | kind::CLOSE | kind::FLUSH)
}

impl<S, P> Extended<S, P> {
    /// Whether a message of this kind is to be handled: while skipping, only Sync and Terminate are.
    #[inline]
    pub fn admits(&self, kind: u8) -> bool {
        !self.is_skipping || matches!(kind, kind::SYNC | kind::TERMINATE)
    }

    /// An error has been sent: skips until Sync.
    pub fn skip(&mut self) {
        self.is_skipping = true;
    }

    /// Sync has come: no longer skips.
    #[inline]
    pub fn synced(&mut self) {
        self.is_skipping = false;
    }

    /// The transaction has ended, and with it all portals. Answers the unnamed one, so that its memory can be reused.
    #[inline]
    pub fn end_transaction(&mut self) -> Option<P> {
        if !self.portals.is_empty() {
            self.portals.clear();
        }
        self.portal_unnamed.take()
    }

    /// The unnamed statement.
    ///
    /// # Errors
    /// 26000 if there is none.
    #[inline]
    pub fn statement(&self) -> Result<&S, SqlError> {
        self.statement_unnamed.as_ref().ok_or_else(|| {
            let message = "unnamed prepared statement does not exist";
            SqlError::new(SqlState::INVALID_SQL_STATEMENT_NAME, message)
        })
    }

    /// Keeps or forgets the unnamed statement.
    pub fn set_statement(&mut self, statement: Option<S>) {
        self.statement_unnamed = statement;
    }

    /// The portal of this name.
    ///
    /// # Errors
    /// 34000 if there is none.
    #[inline]
    pub fn portal(&mut self, name: &str) -> Result<&mut P, SqlError> {
        let found = if name.is_empty() { self.portal_unnamed.as_mut() } else { self.portals.get_mut(name) };
        found.ok_or_else(|| no_portal(name))
    }

    /// Makes room for a portal to be bound: a name must be free. Answers the unnamed portal that it replaces.
    ///
    /// # Errors
    /// 42P03 if the name is taken, 54000 if there are too many.
    #[inline]
    pub fn begin_portal(&mut self, name: &str) -> Result<Option<P>, SqlError> {
        if name.is_empty() {
            return Ok(self.portal_unnamed.take());
        }
        if self.portals.contains_key(name) {
            let message = format!("cursor \"{name}\" already exists");
            return Err(SqlError::new(SqlState::DUPLICATE_CURSOR, message));
        }
        if self.portals.len() >= PORTALS_MAX {
            let message = format!("a session holds at most {PORTALS_MAX} portals");
            return Err(SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message));
        }
        Ok(None)
    }

    /// Keeps a portal under the name that `begin_portal` admitted.
    #[inline]
    pub fn put_portal(&mut self, name: &str, portal: P) {
        if name.is_empty() {
            self.portal_unnamed = Some(portal);
        } else {
            self.portals.insert(name.into(), portal);
        }
    }

    /// Forgets a portal, if it is there.
    pub fn close_portal(&mut self, name: &str) {
        if name.is_empty() {
            self.portal_unnamed = None;
        } else {
            self.portals.remove(name);
        }
    }

    /// A simple query has come: it takes the place of the unnamed statement and portal.
    pub fn forget_unnamed(&mut self) {
        self.statement_unnamed = None;
        self.portal_unnamed = None;
    }
}

#[cold]
fn no_portal(name: &str) -> SqlError {
    SqlError::new(SqlState::INVALID_CURSOR_NAME, format!("portal \"{name}\" does not exist"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [u8; 9] = [
        kind::PARSE,
        kind::EXECUTE,
        kind::CLOSE,
        kind::FLUSH,
        kind::QUERY,
        kind::COPY_DATA,
        kind::COPY_FAIL,
        kind::SYNC,
        kind::TERMINATE,
    ];

    #[test]
    fn names_are_unique_but_the_unnamed_is_replaced() {
        let mut extended = Extended::<u32, u32>::default();
        assert_eq!(extended.statement().expect_err("none").state, SqlState::INVALID_SQL_STATEMENT_NAME);
        extended.set_statement(Some(1));
        for name in ["", "a"] {
            assert_eq!(extended.begin_portal(name).expect("free"), None);
            extended.put_portal(name, 2);
        }
        assert_eq!(extended.begin_portal("a").expect_err("taken").state.code(), "42P03");
        assert_eq!(extended.begin_portal("").expect("replaced"), Some(2));
        assert_eq!(extended.end_transaction(), None);
        assert_eq!(extended.portal("a").expect_err("ended").state, SqlState::INVALID_CURSOR_NAME);
        assert_eq!(extended.statement().expect("survives"), &1);
        extended.close_portal("a");
        extended.forget_unnamed();
        assert!(extended.statement().is_err());
    }

    #[test]
    fn skipping_ends_with_sync_in_every_order() {
        let count = KINDS.len();
        for order in 0..count.pow(4) {
            let mut extended = Extended::<(), ()>::default();
            let mut is_skipping = false;
            let mut rest = order;
            for _ in 0..4 {
                let kind = KINDS[rest % count];
                rest /= count;
                let always = matches!(kind, kind::SYNC | kind::TERMINATE);
                assert_eq!(extended.admits(kind), !is_skipping || always);
                if kind == kind::SYNC {
                    extended.synced();
                    is_skipping = false;
                } else if !is_skipping && skips_after_error(kind) {
                    extended.skip();
                    is_skipping = true;
                }
            }
        }
    }

    #[test]
    fn sessions_hold_a_bounded_number() {
        let mut extended = Extended::<(), ()>::default();
        for number in 0..PORTALS_MAX {
            let name = number.to_string();
            extended.begin_portal(&name).expect("room");
            extended.put_portal(&name, ());
        }
        assert_eq!(extended.begin_portal("one more").expect_err("full").state.code(), "54000");
        extended.close_portal("7");
        extended.begin_portal("one more").expect("room again");
    }
}
