//! What the operators of the session's core work with: when to give way, how much memory, and where to put rows aside.
//!
//! An operator that would need more than `work_mem` writes batches to a [`Spill`], a temporary file of its own, and
//! reads them back one after another. All files of a statement share `temp_file_limit`. A file goes with its last
//! handle, so nothing is left after an error either.

mod format;
pub(crate) mod kept;
pub(crate) mod partition;
pub(crate) mod sorter;

use std::cell::Cell;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use omen_core::error::{SqlState, ValueError};
use omen_core::temporary::{Answer, Place, TemporaryFile};

use super::Result;

/// What an operator is doing.
pub(crate) type Doing<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + 'a>>;

/// The disk space of a statement.
#[derive(Clone, Debug)]
pub(crate) struct DiskSpace {
    used_bytes: Rc<Cell<u64>>,
    limit_bytes: Option<u64>,
}

impl DiskSpace {
    /// None is used yet.
    pub(crate) fn new(limit_bytes: Option<u64>) -> DiskSpace {
        DiskSpace { used_bytes: Rc::default(), limit_bytes }
    }

    fn take(&self, bytes: u64) -> Result<()> {
        let used = self.used_bytes.get() + bytes;
        if let Some(limit) = self.limit_bytes.filter(|limit| used > *limit) {
            let message = format!("temporary file size exceeds temp_file_limit ({}kB)", limit >> 10);
            return Err(ValueError::new(SqlState::CONFIGURATION_LIMIT_EXCEEDED, message));
        }
        self.used_bytes.set(used);
        Ok(())
    }
}

/// Where and within what limits operators of the session's core work. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Work(Rc<Surrounding>);

struct Surrounding {
    pause: Box<dyn Fn() -> Doing<'static, ()>>,
    now_us: Box<dyn Fn() -> u64>,
    /// How long operators have waited, for others and for files.
    waited_us: Cell<u64>,
    create: Box<dyn Fn() -> Answer<'static, Rc<dyn TemporaryFile>>>,
    space: DiskSpace,
    memory_bytes: usize,
    seed: u64,
}

impl Work {
    /// `pause` lets other work go first and says whether to stop, `now_us` is a clock, `create` makes a temporary file, `memory_bytes` is
    /// `work_mem`; `seed` says which rows lie in one part.
    pub(crate) fn new(
        pause: impl Fn() -> Doing<'static, ()> + 'static,
        now_us: impl Fn() -> u64 + 'static,
        create: impl Fn() -> Answer<'static, Rc<dyn TemporaryFile>> + 'static,
        space: DiskSpace,
        memory_bytes: usize,
        seed: u64,
    ) -> Work {
        Work(Rc::new(Surrounding {
            pause: Box::new(pause),
            now_us: Box::new(now_us),
            waited_us: Cell::default(),
            create: Box::new(create),
            space,
            memory_bytes,
            seed,
        }))
    }

    /// Most memory of one operator.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.0.memory_bytes
    }

    fn seed(&self) -> u64 {
        self.0.seed
    }

    /// Bytes of a batch that is put aside: many of them fit into the memory, and each is worth a write.
    pub(crate) fn piece_bytes(&self) -> usize {
        (self.0.memory_bytes / 64).clamp(4 << 10, 256 << 10)
    }

    /// Lets other tasks of the core have their turn. Called between steps of a quarter of a millisecond at most.
    ///
    /// # Errors
    /// 57014 if the statement is to stop.
    pub(crate) async fn give_way(&self) -> Result<()> {
        self.waiting((self.0.pause)()).await
    }

    /// A clock that stands still while operators wait.
    pub(crate) fn busy_us(&self) -> u64 {
        (self.0.now_us)().saturating_sub(self.0.waited_us.get())
    }

    async fn waiting<T>(&self, what: impl Future<Output = T>) -> T {
        let began_us = (self.0.now_us)();
        let done = what.await;
        let waited_us = (self.0.now_us)().saturating_sub(began_us);
        self.0.waited_us.set(self.0.waited_us.get() + waited_us);
        done
    }
}

/// Rows that an operator takes in one step where nothing adapts them to the time that they take.
const STEP_ROWS: usize = 1_024;

/// A batch in pieces of one step each.
pub(crate) fn steps(batch: &RecordBatch) -> impl Iterator<Item = RecordBatch> {
    let rows = batch.num_rows();
    (0..rows).step_by(STEP_ROWS).map(move |start| batch.slice(start, STEP_ROWS.min(rows - start)))
}

/// A temporary file of batches of one schema.
pub(crate) struct Spill {
    work: Work,
    schema: SchemaRef,
    file: Rc<dyn TemporaryFile>,
    taken_bytes: Cell<u64>,
}

impl Spill {
    /// An empty file.
    ///
    /// # Errors
    /// I/O errors.
    pub(crate) async fn create(work: &Work, schema: SchemaRef) -> Result<Rc<Spill>> {
        let file = (work.0.create)().await.map_err(told)?;
        Ok(Rc::new(Spill { work: work.clone(), schema, file, taken_bytes: Cell::new(0) }))
    }

    /// Writes a batch.
    ///
    /// # Errors
    /// 53400 beyond `temp_file_limit`; 53100 if the disk is full; other I/O errors; 57014 if the statement is to stop.
    pub(crate) async fn write(&self, batch: &RecordBatch) -> Result<Place> {
        let bytes = format::encode(batch)?;
        let taken = Place::file_bytes_of(&bytes);
        self.work.0.space.take(taken)?;
        self.taken_bytes.set(self.taken_bytes.get() + taken);
        let place = self.work.waiting(self.file.append(&bytes)).await.map_err(told)?;
        self.work.give_way().await?;
        Ok(place)
    }

    /// Reads a batch.
    ///
    /// # Errors
    /// XX001 if the file is damaged; I/O errors; 57014 if the statement is to stop.
    pub(crate) async fn read(&self, place: Place) -> Result<RecordBatch> {
        let bytes = self.work.waiting(self.file.read(place)).await.map_err(told)?;
        self.work.give_way().await?;
        format::decode(&bytes, &self.schema)
    }
}

impl Drop for Spill {
    fn drop(&mut self) {
        let used = &self.work.0.space.used_bytes;
        used.set(used.get() - self.taken_bytes.get());
    }
}

fn told(error: omen_core::Error) -> ValueError {
    match error {
        omen_core::Error::Value(error) => error,
        other => ValueError::new(other.sqlstate(), other.to_string()),
    }
}

/// Batches in a file, in the order in which they were written.
#[derive(Clone)]
pub(crate) struct Run {
    spill: Rc<Spill>,
    places: VecDeque<Place>,
    /// Rows of all batches.
    pub(crate) rows: usize,
}

impl Run {
    /// No batches yet.
    pub(crate) fn new(spill: Rc<Spill>) -> Run {
        Run { spill, places: VecDeque::new(), rows: 0 }
    }

    /// Whether no batch is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Adds a batch.
    ///
    /// # Errors
    /// As [`Spill::write`].
    pub(crate) async fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        self.rows += batch.num_rows();
        let place = self.spill.write(batch).await?;
        self.places.push_back(place);
        Ok(())
    }

    /// Takes the first batch that is left.
    ///
    /// # Errors
    /// As [`Spill::read`].
    pub(crate) async fn next(&mut self) -> Result<Option<RecordBatch>> {
        match self.places.pop_front() {
            Some(place) => self.spill.read(place).await.map(Some),
            None => Ok(None),
        }
    }
}
