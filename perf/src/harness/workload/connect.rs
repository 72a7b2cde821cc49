//! Connections that are opened for one statement.

use super::{Done, Random, Session, Workload, expect};
use crate::harness::wire::{Client, Result};

pub(super) struct Connect;

impl Workload for Connect {
    fn kinds(&self) -> &[&'static str] {
        &["connect"]
    }

    fn load(&self, _client: &mut Client) -> Result<()> {
        Ok(())
    }

    fn prepare(&self, _client: &mut Client) -> Result<()> {
        Ok(())
    }

    fn request(&self, session: &mut Session, _random: &mut Random) -> Result<Done> {
        let mut client = Client::connect(&session.target)?;
        expect("SELECT 1", client.query("SELECT 1")?.number(0, 0)?, 1)?;
        Ok(Done { kind: 0, retries: 0 })
    }

    fn verify(&self, _client: &mut Client) -> Result<()> {
        Ok(())
    }
}
