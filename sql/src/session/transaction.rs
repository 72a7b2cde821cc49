//! The transaction of a session: none, implicit (until the next Sync), a block, or a failed block.
//!
//! Invariant: a transaction of the engine is open only while a statement runs, in an implicit transaction, or in a block
//! that has run a statement; a failed block has none. Settings changed in a transaction that is rolled back are as they
//! were when it began.

use std::cell::Cell;
use std::rc::Rc;

use omen_core::router::{Router, Transaction};

use super::{Scope, TransactionStatus};
use crate::error::{Result, SqlError, SqlState};
use crate::parse::utility::{Isolation, TransactionModes};
use crate::settings::Settings;

/// Where a COPY finds the session's transaction and leaves it again.
pub(super) type TxnSlot<R> = Rc<Cell<Option<<R as Router>::Txn>>>;

/// What kind of transaction there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Block {
    /// None.
    None,
    /// One that the next Sync ends.
    Implicit,
    /// One that COMMIT or ROLLBACK ends.
    Explicit,
    /// One that failed and that ROLLBACK ends.
    Failed,
}

/// See the module.
pub(super) struct TransactionState<R: Router> {
    pub(super) block: Block,
    slot: TxnSlot<R>,
    /// Microseconds since 1970 UTC; 0 without transaction.
    started_us: i64,
    isolation: Isolation,
    pub(super) read_only: bool,
    /// A statement has run in the block: its isolation is fixed.
    has_begun: bool,
    /// The settings to go back to on ROLLBACK.
    before: Option<Box<Settings>>,
    /// The settings to go on with after COMMIT, if some were set for the transaction only.
    after: Option<Box<Settings>>,
}

impl<R: Router> TransactionState<R> {
    /// No transaction.
    pub(super) fn new() -> TransactionState<R> {
        TransactionState {
            block: Block::None,
            slot: Rc::new(Cell::new(None)),
            started_us: 0,
            isolation: Isolation::RepeatableRead,
            read_only: false,
            has_begun: false,
            before: None,
            after: None,
        }
    }

    pub(super) fn status(&self) -> TransactionStatus {
        match self.block {
            Block::None | Block::Implicit => TransactionStatus::Idle,
            Block::Explicit => TransactionStatus::InTransaction,
            Block::Failed => TransactionStatus::Failed,
        }
    }

    /// Start of the transaction; `now_us` without one.
    pub(super) fn start_us(&self, now_us: i64) -> i64 {
        if self.started_us == 0 { now_us } else { self.started_us }
    }

    /// Whether a statement of this scope is a transaction by itself.
    pub(super) fn is_alone(&self, scope: Scope) -> bool {
        self.block == Block::None && scope == Scope::Alone
    }

    /// Opens the implicit transaction if a statement that ends with the next Sync begins.
    pub(super) fn enter(&mut self, scope: Scope, settings: &mut Settings, now_us: i64) -> Result<()> {
        if self.block != Block::None {
            self.has_begun = true;
            return Ok(());
        }
        match scope {
            Scope::Alone => {
                self.isolation = settings.default_isolation();
                self.read_only = settings.default_read_only();
            }
            Scope::UntilSync => {
                self.open(Block::Implicit, TransactionModes::default(), settings, now_us)?;
                self.has_begun = true;
            }
        }
        Ok(())
    }

    /// Begins a block, or makes a block of the implicit transaction.
    pub(super) fn begin(
        &mut self,
        modes: TransactionModes,
        settings: &mut Settings,
        now_us: i64,
    ) -> Result<()> {
        if self.block == Block::Implicit {
            self.block = Block::Explicit;
            return self.change_modes(modes, settings);
        }
        self.open(Block::Explicit, modes, settings, now_us)
    }

    fn open(
        &mut self,
        block: Block,
        modes: TransactionModes,
        settings: &mut Settings,
        now_us: i64,
    ) -> Result<()> {
        self.set_modes(modes, settings)?;
        self.block = block;
        self.started_us = now_us;
        self.has_begun = false;
        Ok(())
    }

    fn set_modes(&mut self, modes: TransactionModes, settings: &mut Settings) -> Result<()> {
        let isolation = modes.isolation.unwrap_or(settings.default_isolation());
        if isolation == Isolation::Serializable {
            return Err(crate::settings::serializable());
        }
        self.isolation = isolation;
        self.read_only = modes.read_only.unwrap_or(settings.default_read_only());
        let deferrable = modes.deferrable.unwrap_or(settings.default_deferrable());
        settings.show_transaction(isolation, self.read_only, deferrable);
        Ok(())
    }

    /// SET TRANSACTION.
    pub(super) fn change_modes(&mut self, modes: TransactionModes, settings: &mut Settings) -> Result<()> {
        let isolation = modes.isolation.unwrap_or(self.isolation);
        if isolation != self.isolation && self.has_begun {
            let message = "SET TRANSACTION ISOLATION LEVEL must be called before any query";
            return Err(SqlError::new(SqlState::ACTIVE_SQL_TRANSACTION, message));
        }
        let read_only = modes.read_only.unwrap_or(self.read_only);
        if self.read_only && !read_only && self.has_begun {
            let message = "transaction read-write mode must be set before any query";
            return Err(SqlError::new(SqlState::ACTIVE_SQL_TRANSACTION, message));
        }
        let deferrable = modes.deferrable.unwrap_or(settings.transaction_deferrable());
        let modes = TransactionModes {
            isolation: Some(isolation),
            read_only: Some(read_only),
            deferrable: Some(deferrable),
        };
        self.set_modes(modes, settings)
    }

    /// The modes of the transaction, for another one like it.
    pub(super) fn modes(&self, settings: &Settings) -> TransactionModes {
        TransactionModes {
            isolation: Some(self.isolation),
            read_only: Some(self.read_only),
            deferrable: Some(settings.transaction_deferrable()),
        }
    }

    /// The open transaction for a statement, which puts it back.
    pub(super) fn take(&mut self, router: &R) -> R::Txn {
        let mut txn = self.slot.take().unwrap_or_else(|| router.begin());
        if self.takes_new_snapshots() {
            txn.refresh();
        }
        txn
    }

    /// Whether each statement sees what was committed until it began: READ COMMITTED.
    pub(super) fn takes_new_snapshots(&self) -> bool {
        matches!(self.isolation, Isolation::ReadCommitted | Isolation::ReadUncommitted)
    }

    /// Puts the transaction back.
    pub(super) fn put(&mut self, txn: R::Txn) {
        self.slot.set(Some(txn));
    }

    pub(super) fn slot(&self) -> TxnSlot<R> {
        self.slot.clone()
    }

    /// Notes the settings before they change.
    pub(super) fn before_set(&mut self, settings: &Settings) {
        if self.block != Block::None && self.before.is_none() {
            self.before = Some(Box::new(settings.clone()));
        }
    }

    /// Changes settings until the end of the transaction.
    pub(super) fn set_local(
        &mut self,
        settings: &mut Settings,
        change: impl FnOnce(&mut Settings) -> Result<()>,
    ) -> Result<()> {
        self.before_set(settings);
        if self.after.is_none() {
            self.after = Some(Box::new(settings.clone()));
        }
        change(settings)
    }

    /// Changes settings for good, if the transaction commits.
    pub(super) fn set_session(
        &mut self,
        settings: &mut Settings,
        change: impl Fn(&mut Settings) -> Result<()>,
    ) -> Result<()> {
        self.before_set(settings);
        change(settings)?;
        match &mut self.after {
            Some(after) => change(after),
            None => Ok(()),
        }
    }

    /// Ends the transaction; answers what is to be committed.
    pub(super) fn commit(&mut self, settings: &mut Settings) -> Option<R::Txn> {
        if let Some(after) = self.after.take() {
            *settings = *after;
        }
        self.end(settings)
    }

    /// Ends the transaction; answers what is to be rolled back.
    pub(super) fn roll_back(&mut self, settings: &mut Settings) -> Option<R::Txn> {
        if let Some(before) = self.before.take() {
            *settings = *before;
        }
        self.end(settings)
    }

    fn end(&mut self, settings: &mut Settings) -> Option<R::Txn> {
        self.block = Block::None;
        self.started_us = 0;
        self.has_begun = false;
        self.before = None;
        self.after = None;
        settings.show_transaction(
            settings.default_isolation(),
            settings.default_read_only(),
            settings.default_deferrable(),
        );
        self.slot.take()
    }

    /// The statement failed: a block waits for ROLLBACK, anything else is over. Answers what is to be rolled back.
    pub(super) fn fail(&mut self, settings: &mut Settings) -> Option<R::Txn> {
        match self.block {
            Block::Explicit | Block::Failed => {
                self.block = Block::Failed;
                if let Some(before) = self.before.take() {
                    *settings = *before;
                    self.after = None;
                }
                self.slot.take()
            }
            Block::None | Block::Implicit => self.roll_back(settings),
        }
    }
}
