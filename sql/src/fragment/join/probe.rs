//! Joins as a stage of a fragment: owning cores look for partners of the rows that they read, all in one build side.
//!
//! Only where a row of the probe side has few partners, so that what a batch gives is bounded, and where it does not
//! matter to other rows which partners it has.

use std::fmt;
use std::sync::Arc;

use arrow_array::RecordBatch;
use omen_core::fragment::{Flow, FragmentRun};
use omen_core::types::PgType;

use super::{JoinRun, JoinTable, Next, Result};

/// A build side as a stage of a pipeline.
#[derive(Clone)]
pub(crate) struct Probe(pub(crate) Arc<JoinTable>);

impl Probe {
    /// Types of what it gives.
    pub(crate) fn output_types(&self) -> Vec<PgType> {
        let stage = &self.0.stage;
        let types = [stage.probe.as_slice(), &stage.build, &[PgType::Bool]].concat();
        // A mark is behind all columns.
        stage.output.iter().map(|column| types[*column]).collect()
    }

    /// Starts it on some rows of the probe side.
    pub(crate) fn start(&self) -> ProbeRun {
        ProbeRun(JoinRun::new(self.0.clone()))
    }
}

impl PartialEq for Probe {
    fn eq(&self, other: &Probe) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Probe({:?})", self.0.stage)
    }
}

/// See the module.
pub(crate) struct ProbeRun(JoinRun);

impl FragmentRun for ProbeRun {
    fn push(&mut self, batch: RecordBatch, out: &mut Vec<RecordBatch>) -> Result<Flow> {
        self.0.push(batch)?;
        loop {
            match self.0.next()? {
                Next::Batch(batch) => out.push(batch),
                Next::Idle => {}
                Next::Input | Next::End => return Ok(Flow::More),
            }
        }
    }

    fn finish(&mut self, _out: &mut Vec<RecordBatch>) -> Result<()> {
        Ok(())
    }
}
