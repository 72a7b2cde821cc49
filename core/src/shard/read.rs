//! Point reads at a snapshot.

use std::rc::Rc;

use crate::clock::Timestamp;
use crate::env::Env;
use crate::error::{Error, Result};
use crate::id::RangeId;
use crate::key::Key;
use crate::router::ReadView;
use crate::row::{Row, RowBuilder};
use crate::segment::{SeenVersion, Segment, Version, Versions};
use crate::stamp::Stamp;

use super::range::Range;
use super::{Inner, Shard, State};

/// What a look at the stores found.
enum Look<E: Env> {
    /// The row the view sees, if any. It depends on commits up to `at`, which may not be durable yet.
    Found { row: Option<Row>, at: Timestamp },
    /// The answer depends on a prepared transaction.
    Wait,
    /// The versions in this segment must be read from disk.
    Disk(Rc<Segment<E>>),
}

/// What one version means for the reader.
enum Sight {
    Visible,
    /// It has ended for the reader, and so have all older ones.
    Gone,
    /// Look at the next older one.
    Older,
    /// That depends on a prepared transaction.
    Wait,
}

impl<E: Env> Shard<E> {
    /// The columns of the row that the view sees.
    ///
    /// # Errors
    /// `RangeMoved` if the range is not here; I/O errors and `Corrupt`.
    pub async fn get(
        &self,
        id: RangeId,
        view: ReadView,
        key: &Key,
        columns: &[usize],
    ) -> Result<Option<Row>> {
        let inner = &self.0;
        inner.clock.observe(view.snapshot);
        let mut loaded = Vec::new();
        loop {
            let seen = inner.released.epoch();
            match inner.look(id, view, key, columns, &loaded)? {
                Look::Found { row, at } => {
                    inner.durable_at(at).await?;
                    return Ok(row);
                }
                Look::Wait => inner.released.changed(seen).await,
                Look::Disk(segment) => {
                    let versions = segment.find(key, columns, &inner.cache).await?;
                    loaded.push((segment, versions));
                }
            }
        }
    }

    /// As [`Shard::get`] if the answer needs no waiting.
    pub fn try_get(
        &self,
        id: RangeId,
        view: ReadView,
        key: &Key,
        columns: &[usize],
    ) -> Option<Result<Option<Row>>> {
        let inner = &self.0;
        inner.clock.observe(view.snapshot);
        match inner.look(id, view, key, columns, &[]) {
            Ok(Look::Found { row, at }) => inner
                .state
                .borrow()
                .durability_of(at)
                .is_none_or(|lsn| lsn <= inner.wal.durable_lsn())
                .then_some(Ok(row)),
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        }
    }
}

impl<E: Env> Inner<E> {
    /// Looks at the stores, and at what was read from disk for this key: the cache may be too small to keep it.
    fn look(
        &self,
        id: RangeId,
        view: ReadView,
        key: &Key,
        columns: &[usize],
        loaded: &[(Rc<Segment<E>>, Versions)],
    ) -> Result<Look<E>> {
        let state = self.state.borrow();
        let range = state.ranges.get(&id).ok_or(Error::RangeMoved)?;
        if !range.span.contains(key) {
            return Err(Error::RangeMoved);
        }
        let mut at = Timestamp::ZERO;
        let mut builder = self.row_builder.borrow_mut();
        if let Some(look) = look_in_memory(&state, range, view, key, columns, &mut at, &mut builder)? {
            return Ok(look);
        }
        for segment in range.segments.iter().rev().filter(|segment| segment.covers(key)) {
            let before = loaded.iter().find(|(other, _)| Rc::ptr_eq(other, segment));
            let see = |version: SeenVersion<'_>| {
                let end = segment.end(version.position());
                let sight = state.judge(version.begin(), end, view, &mut at);
                if matches!(sight, Sight::Visible) {
                    version.read(columns, &mut builder);
                }
                (!matches!(sight, Sight::Older)).then_some(sight)
            };
            let seen = match before {
                Some((_, versions)) => versions.iter().map(Version::seen).find_map(see),
                None => match segment.see_cached(key, columns, &self.cache, see) {
                    Some(seen) => seen,
                    None => return Ok(Look::Disk(segment.clone())),
                },
            };
            match seen {
                Some(Sight::Visible) => return Ok(Look::Found { row: Some(builder.finish()?), at }),
                Some(Sight::Gone) => return Ok(Look::Found { row: None, at }),
                Some(Sight::Wait) => return Ok(Look::Wait),
                Some(Sight::Older) | None => {}
            }
        }
        Ok(Look::Found { row: None, at })
    }
}

fn look_in_memory<E: Env>(
    state: &State<E>,
    range: &Range<E>,
    view: ReadView,
    key: &Key,
    columns: &[usize],
    at: &mut Timestamp,
    builder: &mut RowBuilder,
) -> Result<Option<Look<E>>> {
    for slot in range.memtables.iter().rev() {
        let table = slot.table.borrow();
        let mut next = table.newest(key);
        while let Some(row) = next {
            match state.judge(table.begin(row), table.end(row), view, at) {
                Sight::Visible => {
                    table.read(row, columns, builder);
                    return Ok(Some(Look::Found { row: Some(builder.finish()?), at: *at }));
                }
                Sight::Gone => return Ok(Some(Look::Found { row: None, at: *at })),
                Sight::Older => next = table.previous(row),
                Sight::Wait => return Ok(Some(Look::Wait)),
            }
        }
    }
    Ok(None)
}

impl<E: Env> State<E> {
    /// Judges one version; raises `at` to the commits that the judgement rests on.
    fn judge(&self, begin: Stamp, end: Stamp, view: ReadView, at: &mut Timestamp) -> Sight {
        match (begin.txn(), begin.timestamp()) {
            (Some(txn), _) if txn == view.txn => {}
            (Some(txn), _) if self.may_commit_by(txn, view.snapshot) => return Sight::Wait,
            (None, Some(commit)) if commit <= view.snapshot => *at = commit.max(*at),
            _ => return Sight::Older,
        }
        match (end.txn(), end.timestamp()) {
            (Some(txn), _) if txn == view.txn => Sight::Gone,
            (Some(txn), _) if self.may_commit_by(txn, view.snapshot) => Sight::Wait,
            (None, Some(commit)) if commit <= view.snapshot => {
                *at = commit.max(*at);
                Sight::Gone
            }
            _ => Sight::Visible,
        }
    }
}
