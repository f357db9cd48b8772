//! The store suite on the simulated stores.

use state_api::SnapshotStore;
use state_testing::SimStore;
use state_testing::suite::{self, store::StoreFixture};
use std::path::PathBuf;

struct Fixture(SimStore);

impl StoreFixture for Fixture {
    fn store(&self) -> Box<dyn SnapshotStore> {
        Box::new(self.0.clone())
    }
    fn path(&self) -> PathBuf {
        self.0.path()
    }
    fn nest(&mut self, _: &str) -> bool {
        false
    }
    fn idle(&mut self) -> Box<dyn SnapshotStore> {
        self.0.set_in_use(false);
        self.store()
    }
    fn resume(&mut self) {
        self.0.set_in_use(true);
    }
}

#[test]
fn the_simulated_stores_do_what_every_store_must() {
    for has_snapshots in [true, false] {
        suite::run(&suite::store::cases(), || {
            let store = SimStore::new(has_snapshots);
            std::fs::write(store.path().join("machine-id"), "1").unwrap();
            Fixture(store)
        });
    }
}
