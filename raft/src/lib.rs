//! Replication of ranges.
//!
//! A range's commands pass through a [`Replication`]: it gives each one a [`LogPosition`], says when it is committed,
//! and knows nothing of files or sockets. The WAL of the shard writes what it asks for (the frame of every record
//! carries range, term and index, so that the WAL is the log of all groups of a core) and reports what is durable.
//!
//! [`SingleVoter`] is the group of one replica that a single node runs. It obeys the rules of the many-voter group, so
//! that logs it wrote can be continued by one:
//!
//! - a term is led only after the vote for it is durable, and never led twice;
//! - a term begins with a blank entry; when that is committed, everything before it is;
//! - `committed <= durable <= last` at all times, and none of them goes back.

mod single;

pub use single::SingleVoter;

/// A period with one leader. Rises with every election; 0 is before the first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Term(pub u64);

/// Number of an entry in the log of its range, counted from 1; 0 is before the first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct LogIndex(pub u64);

/// Names one entry of a range's log for ever: two entries of one position are the same entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct LogPosition {
    /// The term whose leader made it.
    pub term: Term,
    /// Its number.
    pub index: LogIndex,
}

/// What happened to a replica.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event<C> {
    /// Time to stand for election: at start, or when the leader has been silent.
    Campaign,
    /// The vote that was asked for is durable.
    VotePersisted(Term),
    /// A client wants this command.
    Propose(C),
    /// Every entry up to this one is durable here.
    Flushed(LogPosition),
}

/// What an entry holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Payload<C> {
    /// Nothing: opens a term.
    Blank,
    /// A client's command.
    Command(C),
}

/// What the replica asks its caller to do, in this order: persist the vote, append the entries, answer the commits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Effects<C> {
    /// Make this vote durable, then send [`Event::VotePersisted`].
    pub persist_vote: Option<Term>,
    /// Append these to the log in order; when durable, send [`Event::Flushed`].
    pub append: Vec<(LogPosition, Payload<C>)>,
    /// Every entry up to here is committed: apply it and answer its client.
    pub committed: Option<LogPosition>,
}

impl<C> Default for Effects<C> {
    fn default() -> Effects<C> {
        Effects { persist_vote: None, append: Vec::new(), committed: None }
    }
}

/// Why a proposal was not taken. The command has left no trace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// This replica does not lead the group now.
    NotLeader,
    /// Too many entries wait to become durable; retry later.
    Full,
}

impl Refused {
    /// Whether the same proposal to the same replica may succeed soon.
    pub fn is_retryable(self) -> bool {
        self == Refused::Full
    }
}

/// The replication of one range on one replica: a synchronous state machine.
pub trait Replication<C> {
    /// Takes one event and says what to do.
    ///
    /// # Errors
    /// Only for [`Event::Propose`].
    fn step(&mut self, event: Event<C>) -> Result<Effects<C>, Refused>;

    /// The newest committed entry.
    fn committed(&self) -> LogPosition;

    /// Whether proposals are taken.
    fn is_leader(&self) -> bool;
}
