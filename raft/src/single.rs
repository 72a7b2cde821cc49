//! The group with one voter: its own disk is the quorum.

use crate::{Effects, Event, LogIndex, LogPosition, Payload, Refused, Replication, Term};

/// Entries that may wait to become durable; the next proposal is refused. Far above what one group commit takes.
const INFLIGHT_MAX: u64 = 65_536;

/// Where a replica stands in its term.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Role {
    /// Has led nothing since it started.
    Follower,
    /// Waits for its vote for the term to be durable.
    Candidate,
    /// Leads the term.
    Leader,
}

/// Replication by one replica.
#[derive(Debug)]
pub struct SingleVoter {
    role: Role,
    term: Term,
    /// The newest entry that was handed out, durable or not.
    last: LogPosition,
    committed: LogPosition,
}

impl SingleVoter {
    /// A replica that found `voted` as its newest durable vote and `last` as the newest entry in its log.
    ///
    /// # Panics
    /// If the log holds an entry of a term that was never voted for.
    pub fn recover(voted: Term, last: LogPosition) -> SingleVoter {
        assert!(last.term <= voted, "an entry of {:?} needs a vote, the newest is for {voted:?}", last.term);
        SingleVoter { role: Role::Follower, term: voted, last, committed: LogPosition::default() }
    }

    fn entry<C>(&mut self, payload: Payload<C>, effects: &mut Effects<C>) {
        self.last = LogPosition { term: self.term, index: LogIndex(self.last.index.0 + 1) };
        effects.append.push((self.last, payload));
    }

    fn campaign<C>(&mut self, effects: &mut Effects<C>) {
        if self.role == Role::Follower {
            self.role = Role::Candidate;
            self.term = Term(self.term.0 + 1);
            effects.persist_vote = Some(self.term);
        }
    }

    fn flushed<C>(&mut self, upto: LogPosition, effects: &mut Effects<C>) {
        assert!(upto <= self.last, "{upto:?} is reported durable, but {:?} is the last entry", self.last);
        // Entries of older terms count only together with one of the present term (Raft, section 5.4.2).
        if upto.term == self.term && self.role == Role::Leader && upto > self.committed {
            self.committed = upto;
            effects.committed = Some(upto);
        }
    }
}

impl<C> Replication<C> for SingleVoter {
    fn step(&mut self, event: Event<C>) -> Result<Effects<C>, Refused> {
        let mut effects = Effects::default();
        match event {
            Event::Campaign => self.campaign(&mut effects),
            Event::VotePersisted(term) => {
                if self.role == Role::Candidate && term == self.term {
                    self.role = Role::Leader;
                    self.entry(Payload::Blank, &mut effects);
                }
            }
            Event::Propose(_) if self.role != Role::Leader => return Err(Refused::NotLeader),
            Event::Propose(_) if self.last.index.0 - self.committed.index.0 >= INFLIGHT_MAX => {
                return Err(Refused::Full);
            }
            Event::Propose(command) => self.entry(Payload::Command(command), &mut effects),
            Event::Flushed(upto) => self.flushed(upto, &mut effects),
        }
        Ok(effects)
    }

    fn committed(&self) -> LogPosition {
        self.committed
    }

    fn is_leader(&self) -> bool {
        self.role == Role::Leader
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(term: u64, index: u64) -> LogPosition {
        LogPosition { term: Term(term), index: LogIndex(index) }
    }

    /// A leader of term 1 whose blank entry is durable.
    fn leader() -> SingleVoter {
        let mut voter = SingleVoter::recover(Term(0), at(0, 0));
        step(&mut voter, Event::Campaign);
        step(&mut voter, Event::VotePersisted(Term(1)));
        step(&mut voter, Event::Flushed(at(1, 1)));
        voter
    }

    fn step(voter: &mut SingleVoter, event: Event<&'static str>) -> Effects<&'static str> {
        voter.step(event).expect("not refused")
    }

    fn committed(voter: &SingleVoter) -> LogPosition {
        Replication::<&str>::committed(voter)
    }

    #[test]
    fn leads_only_after_its_vote_is_durable() {
        let mut voter = SingleVoter::recover(Term(4), at(3, 10));
        assert_eq!(voter.step(Event::Propose("early")), Err(Refused::NotLeader));
        assert_eq!(step(&mut voter, Event::Campaign).persist_vote, Some(Term(5)));
        assert_eq!(step(&mut voter, Event::Campaign).persist_vote, None, "one candidacy at a time");
        assert_eq!(voter.step(Event::Propose("early")), Err(Refused::NotLeader));
        let blank = step(&mut voter, Event::VotePersisted(Term(5)));
        assert_eq!(blank.append, vec![(at(5, 11), Payload::Blank)]);
    }

    #[test]
    fn commits_what_is_durable_and_nothing_else() {
        let mut voter = leader();
        let first = step(&mut voter, Event::Propose("a"));
        assert_eq!(first.append, vec![(at(1, 2), Payload::Command("a"))]);
        step(&mut voter, Event::Propose("b"));
        step(&mut voter, Event::Propose("c"));
        assert_eq!(committed(&voter), at(1, 1));
        assert_eq!(step(&mut voter, Event::Flushed(at(1, 3))).committed, Some(at(1, 3)));
        assert_eq!(step(&mut voter, Event::Flushed(at(1, 2))).committed, None, "never goes back");
        assert_eq!(step(&mut voter, Event::Flushed(at(1, 4))).committed, Some(at(1, 4)));
    }

    #[test]
    fn older_terms_commit_with_the_blank_entry() {
        let mut voter = SingleVoter::recover(Term(1), at(1, 7));
        step(&mut voter, Event::Campaign);
        step(&mut voter, Event::VotePersisted(Term(2)));
        assert_eq!(step(&mut voter, Event::Flushed(at(1, 7))).committed, None);
        assert_eq!(step(&mut voter, Event::Flushed(at(2, 8))).committed, Some(at(2, 8)));
    }

    #[test]
    fn a_full_log_pushes_back_and_leaves_no_trace() {
        let mut voter = leader();
        for _ in 0..INFLIGHT_MAX {
            step(&mut voter, Event::Propose("x"));
        }
        let last = voter.last;
        assert_eq!(voter.step(Event::Propose("one too many")), Err(Refused::Full));
        assert_eq!(voter.last, last);
        step(&mut voter, Event::Flushed(last));
        assert!(voter.step(Event::Propose("fits again")).is_ok());
    }

    #[test]
    #[should_panic(expected = "needs a vote")]
    fn a_log_without_its_vote_is_refused() {
        SingleVoter::recover(Term(1), at(2, 1));
    }
}
