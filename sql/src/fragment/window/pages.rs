//! A partition that is too large to be looked at in one step: its rows in pages, as many as fit in memory, the others in
//! a file.
//!
//! Rows of a page are numbered by their group of peers, and of each page the number of its first row and of its first
//! group are known. So a row or a group is found by a search over the pages and one within a page.

use std::cell::OnceCell;
use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, BooleanArray, Int64Array, RecordBatch};
use omen_core::fragment::batch_bytes;
use omen_core::temporary::Place;
use omen_core::types::PgType;

use super::aggregate::Tree;
use crate::fragment::rowkey::RowKeys;
use crate::fragment::spill::{Spill, Work};
use crate::fragment::{Result, batch_of, schema_of};

/// Most rows of a page: what is done with them takes a fraction of a millisecond.
pub(super) const PAGE_ROWS: usize = 2_048;

/// Pages that are ready to be worked with. A frame seldom begins, ends and is asked for in more.
const READY_PAGES: usize = 6;

/// Where the rows of a page are.
enum Stored {
    Memory(RecordBatch),
    Disk(Place),
}

struct PageInfo {
    first_row: usize,
    first_group: usize,
    stored: Stored,
}

/// A page that is ready to be worked with.
pub(super) struct Page {
    /// The number of its first row.
    pub(super) first_row: usize,
    /// The rows; behind the columns of the input, the numbers of their groups.
    pub(super) batch: RecordBatch,
    /// What the functions have made of it.
    pub(super) made: Vec<Made>,
}

/// What a function makes of a page.
#[derive(Default)]
pub(super) struct Made {
    /// Its arguments and its filter.
    pub(super) args: OnceCell<(Vec<ArrayRef>, Option<BooleanArray>)>,
    /// The states of its rows.
    pub(super) tree: OnceCell<Tree>,
    /// The values that bounds are compared with, and which of them are NULL.
    pub(super) keys: OnceCell<(RowKeys, Vec<bool>)>,
}

impl Page {
    /// The numbers of its rows.
    pub(super) fn rows(&self) -> Range<usize> {
        self.first_row..self.first_row + self.batch.num_rows()
    }

    /// The groups of its rows.
    pub(super) fn groups(&self) -> &[i64] {
        self.batch.column(self.batch.num_columns() - 1).as_primitive::<Int64Type>().values()
    }
}

/// The rows of a partition.
pub(super) struct Pages {
    types: Vec<PgType>,
    work: Work,
    /// How many functions make something of each page.
    calls: usize,
    pages: Vec<PageInfo>,
    rows: usize,
    groups: usize,
    /// Rows of the page that is being filled.
    filling: Vec<RecordBatch>,
    filling_rows: usize,
    filling_bytes: usize,
    memory_bytes: usize,
    spill: Option<Rc<Spill>>,
    /// Those that were used last are in front.
    ready: VecDeque<(usize, Rc<Page>)>,
}

impl Pages {
    /// No rows yet, of columns of these types.
    pub(super) fn new(types: &[PgType], calls: usize, work: &Work) -> Pages {
        let types = types.iter().copied().chain([PgType::Int8]).collect();
        Pages {
            types,
            work: work.clone(),
            calls,
            pages: Vec::new(),
            rows: 0,
            groups: 0,
            filling: Vec::new(),
            filling_rows: 0,
            filling_bytes: 0,
            memory_bytes: 0,
            spill: None,
            ready: VecDeque::new(),
        }
    }

    /// Bytes of a page: many fit into the memory.
    pub(super) fn page_bytes(&self) -> usize {
        (self.work.memory_bytes() / 64).clamp(256, 256 << 10)
    }

    /// Number of all rows.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Number of the groups of peers.
    pub(super) fn groups(&self) -> usize {
        self.groups
    }

    /// Number of pages.
    pub(super) fn len(&self) -> usize {
        self.pages.len()
    }

    /// Adds rows; `begins` says which of them begin a group of peers. The first of all does.
    ///
    /// # Errors
    /// Those of writing files.
    pub(super) async fn push(&mut self, batch: &RecordBatch, begins: &[bool]) -> Result<()> {
        let mut groups = Vec::with_capacity(batch.num_rows());
        for begins in begins {
            self.groups += usize::from(*begins);
            groups.push(i64::try_from(self.groups - 1).expect("memory and disk end before"));
        }
        let mut columns = batch.columns().to_vec();
        columns.push(Arc::new(Int64Array::from(groups)));
        let batch = batch_of(&schema_of(&self.types), columns, batch.num_rows());
        let width = (batch_bytes(&batch) / batch.num_rows().max(1)).max(1);
        let rows_max = (self.page_bytes() / width).clamp(1, PAGE_ROWS);
        let mut start = 0;
        while start < batch.num_rows() {
            let count = rows_max.saturating_sub(self.filling_rows).clamp(1, batch.num_rows() - start);
            self.filling.push(batch.slice(start, count));
            self.filling_rows += count;
            self.filling_bytes += count * width;
            start += count;
            if self.filling_rows >= rows_max || self.filling_bytes >= self.page_bytes() {
                self.end_page().await?;
            }
        }
        Ok(())
    }

    /// Ends the page that is being filled.
    ///
    /// # Errors
    /// Those of writing files.
    pub(super) async fn end_page(&mut self) -> Result<()> {
        if self.filling_rows == 0 {
            return Ok(());
        }
        let schema = schema_of(&self.types);
        let page = arrow_select::concat::concat_batches(&schema, &self.filling).expect("of one schema");
        self.filling.clear();
        let first_group = page.column(self.types.len() - 1).as_primitive::<Int64Type>().value(0);
        let first_group = usize::try_from(first_group).expect("groups are counted from 0");
        let first_row = self.rows;
        self.rows += page.num_rows();
        self.memory_bytes += std::mem::take(&mut self.filling_bytes);
        self.filling_rows = 0;
        // The other half is for the pages that are worked with.
        let stored = if self.memory_bytes <= self.work.memory_bytes() / 2 {
            Stored::Memory(page)
        } else {
            let spill = match &self.spill {
                Some(spill) => spill.clone(),
                None => Spill::create(&self.work, schema).await?,
            };
            self.spill = Some(spill.clone());
            Stored::Disk(spill.write(&page).await?)
        };
        self.pages.push(PageInfo { first_row, first_group, stored });
        Ok(())
    }

    /// The page of a row.
    pub(super) fn page_of(&self, row: usize) -> usize {
        self.pages.partition_point(|page| page.first_row <= row) - 1
    }

    /// The rows of a page.
    pub(super) fn rows_of(&self, page: usize) -> Range<usize> {
        self.pages[page].first_row..self.pages.get(page + 1).map_or(self.rows, |next| next.first_row)
    }

    /// Makes a page ready.
    ///
    /// # Errors
    /// Those of reading files.
    pub(super) async fn page(&mut self, number: usize) -> Result<Rc<Page>> {
        if let Some(at) = self.ready.iter().position(|(ready, _)| *ready == number) {
            let page = self.ready[at].1.clone();
            if at > 0 {
                let used = self.ready.remove(at).expect("it was found there");
                self.ready.push_front(used);
            }
            return Ok(page);
        }
        let PageInfo { first_row, stored, .. } = &self.pages[number];
        let batch = match stored {
            Stored::Memory(batch) => {
                self.work.give_way().await?;
                batch.clone()
            }
            Stored::Disk(place) => {
                let spill = self.spill.as_ref().expect("it has been written to");
                spill.read(*place).await?
            }
        };
        let made = (0..self.calls).map(|_| Made::default()).collect();
        let page = Rc::new(Page { first_row: *first_row, batch, made });
        self.ready.truncate(READY_PAGES - 1);
        self.ready.push_front((number, page.clone()));
        Ok(page)
    }

    /// The first row of a group of peers; behind the last one, the number of all rows.
    ///
    /// # Errors
    /// Those of reading files.
    pub(super) async fn group_start(&mut self, group: usize) -> Result<usize> {
        if group >= self.groups {
            return Ok(self.rows);
        }
        // It begins in the last page that begins with an earlier group, or with the page behind that one.
        let before = self.pages.partition_point(|page| page.first_group < group);
        let Some(page) = before.checked_sub(1) else { return Ok(0) };
        let page = self.page(page).await?;
        let group = i64::try_from(group).expect("groups are counted");
        Ok(page.first_row + page.groups().partition_point(|other| *other < group))
    }
}
