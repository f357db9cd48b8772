//! Every long verb tells how far it is: of what, how much is done, and what is at work. And what reads
//! an archive does it where nothing else can be written.

use crate::machine::Machine;
use state::ops::{archives, backup, drill, prune, restore};
use state::progress::{Progress, Total, Unit};
use state_api::Never;
use state_linux::confine::{Confinement, confined};
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

/// What was told of one stage.
#[derive(Debug, Clone, PartialEq)]
struct Stage {
    doing: String,
    unit: Unit,
    total: Total,
    done: u64,
    paths: BTreeSet<Vec<u8>>,
    is_over: bool,
    /// Whether whoever told of a path could write where it has no business.
    is_free: bool,
}

struct Listener {
    stages: Mutex<Vec<Stage>>,
    canary: PathBuf,
}

impl Listener {
    fn last(&self, change: impl FnOnce(&mut Stage)) {
        if let Some(stage) = self.stages.lock().unwrap().last_mut() {
            change(stage);
        }
    }

    /// Lets an archive wait until it is known how much it will hold: a small one is made sooner than
    /// counted.
    fn wait_for_total(&self) {
        let begun = Instant::now();
        let is_open =
            |stage: &Stage| stage.doing.starts_with("archiving") && stage.total == Total::Unknown;
        while self.stages.lock().unwrap().last().is_some_and(is_open)
            && begun.elapsed() < Duration::from_secs(10)
        {
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// What the stages were, once each was over and had all of what it said.
    fn told(&self) -> Vec<String> {
        let stages = std::mem::take(&mut *self.stages.lock().unwrap());
        let told = stages.iter().map(|stage| {
            assert!(stage.is_over, "{stage:?}");
            let total = match stage.total {
                Total::Is(total) | Total::About(total) => Some(total),
                Total::Unknown => None,
            };
            assert!(total.is_none_or(|total| total == stage.done), "{stage:?}");
            assert!(stage.done > 0, "{stage:?}");
            // Ids differ.
            let words = stage
                .doing
                .split(' ')
                .filter(|word| !word.starts_with("2027"));
            let words: Vec<&str> = words.collect();
            let unit = match stage.unit {
                Unit::Bytes => "bytes",
                Unit::Items => "items",
            };
            let total = match stage.total {
                Total::Is(_) => "",
                Total::About(_) => ", about",
                Total::Unknown => ", open",
            };
            let paths = if stage.paths.is_empty() {
                ""
            } else {
                ", at paths"
            };
            let confined = match stage.is_free || stage.paths.is_empty() {
                true => "",
                false => ", confined",
            };
            format!("{}: {unit}{total}{paths}{confined}", words.join(" "))
        });
        told.collect()
    }
}

impl Progress for Listener {
    fn begin(&self, doing: &str, unit: Unit, total: Total) {
        self.stages.lock().unwrap().push(Stage {
            doing: doing.to_owned(),
            unit,
            total,
            done: 0,
            paths: BTreeSet::new(),
            is_over: false,
            is_free: false,
        });
    }

    fn expect(&self, total: Total) {
        self.last(|stage| stage.total = total);
    }

    fn advance(&self, by: u64) {
        self.last(|stage| stage.done += by);
    }

    fn see(&self, _: u64, path: &[u8]) {
        self.wait_for_total();
        let is_free = fs::write(&self.canary, "").is_ok();
        self.last(|stage| {
            stage.paths.extend([path.to_vec()]);
            stage.is_free |= is_free;
        });
    }

    fn end(&self) {
        self.last(|stage| stage.is_over = true);
    }
}

#[test]
fn every_long_verb_says_how_far_it_is() {
    let machine = Machine::new();
    machine.configure_target("keep = { last = 1 }");
    if confined(None, |told| told != Confinement::Confined) {
        return; // this kernel has no Landlock
    }
    let listener = Listener {
        stages: Mutex::default(),
        canary: machine.path("canary"),
    };
    let cx = || machine.context(&Never);
    let which = archives::Which::default();

    let backup = |full| {
        let options = backup::Options {
            full,
            ..Default::default()
        };
        backup::run(&cx(), &options, &listener).unwrap();
        listener.told()
    };
    let published = "verifying what was published: bytes";
    // How much the first one will hold is counted meanwhile, of others the ones before tell.
    let archived = ["archiving: bytes, about, at paths", published];
    assert_eq!(backup(true), archived);
    machine.write("root/persist/var/lib/app/new", "new");
    let looked = ["looking for changes: items, about, at paths"];
    assert_eq!(backup(false), [&looked[..], &archived].concat());
    assert_eq!(backup(false), looked);

    archives::verify(&cx(), &which, None, true, &listener).unwrap();
    let verified = ["verifying: bytes, at paths, confined"; 2];
    assert_eq!(listener.told(), verified);

    drill::run(&cx(), &drill::Options::default(), &listener).unwrap();
    let restored = "comparing with the manifest: items, at paths, confined";
    assert_eq!(
        listener.told(),
        [
            "restoring from usb: bytes, about, at paths, confined",
            restored
        ]
    );

    backup::consolidate(&cx(), &which, "latest", &listener).unwrap();
    let consolidated = "consolidating: bytes, about, at paths, confined";
    assert_eq!(listener.told(), [consolidated, published]);

    let options = restore::Options {
        allow_unsigned: true,
        ..Default::default()
    };
    restore::run(&cx(), &options, &listener).unwrap();
    let planned = "reading the manifest: items, at paths, confined";
    let staged = "restoring: bytes, about, at paths, confined";
    assert_eq!(listener.told(), [planned, staged, restored]);

    // What is newest has to be proven before anything goes.
    assert_eq!(backup(true), archived);
    prune::run(&cx(), &which, &listener).unwrap();
    assert_eq!(listener.told(), ["deleting from usb: items, at paths"]);
}
