//! Whether a machine that boots an initrd will really be reset. Pure.

use super::{Entry, Tree, elf, order};
use crate::boot::files::Contents;
use crate::boot::maker::{File, Maker};
use crate::boot::unit::IN_INITRD;
use crate::machine::STORES;
use crate::persist::CONFIGURATION;
use crate::settings::Root;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// What an initrd must hold.
#[derive(Debug)]
pub struct Wanted {
    /// What is written into it now.
    pub contents: Contents,
    /// Where the program is on the machine.
    pub program: PathBuf,
    /// The program.
    pub bytes: Vec<u8>,
    /// What root is.
    pub root: Root,
    /// The filesystems of the stores that it mounts, as fstab(5) names them.
    pub stores: Vec<String>,
}

impl Wanted {
    /// Whether the content of a file in an initrd matters.
    pub fn reads(&self, path: &str) -> bool {
        let name = path.rsplit('/').next().unwrap_or(path);
        let is_ours = |file: &File| file.path.strip_prefix('/') == Some(path);
        // The program, the hooks, what is beside them, and units.
        matches!(name, "state" | "ORDER" | "modules.builtin")
            || self.contents.files.iter().any(is_ours)
            || order::reads(path)
    }
}

/// What speaks against booting it; nothing: the next boot is reset by it.
pub fn faults(tree: &Tree, wanted: &Wanted) -> Vec<String> {
    let Some(program) = tree.content(IN_INITRD) else {
        return vec!["state is not in it".to_owned()];
    };
    let mut faults = Vec::new();
    faults.extend(program_faults(tree, program, wanted));
    faults.extend(stale(tree, &wanted.contents));
    if is_systemd(tree) {
        faults.extend(units(tree, &wanted.contents));
    } else {
        faults.extend(hooks(tree));
    }
    faults.extend(needs(tree, wanted));
    faults
}

fn program_faults(tree: &Tree, program: &[u8], wanted: &Wanted) -> Vec<String> {
    let (inside, outside) = (elf::read(program), elf::read(&wanted.bytes));
    let is_same = match (&inside, &outside) {
        (Some(inside), Some(outside)) => inside.loaded == outside.loaded,
        _ => program == wanted.bytes,
    };
    let mut faults = Vec::new();
    if !is_same {
        faults.push(format!(
            "the program in it is another than {}",
            wanted.program.display()
        ));
    }
    for need in inside.iter().flat_map(|program| &program.needs) {
        if !tree.has_file_named(|name| name == need) {
            faults.push(format!("{need} is not in it, and the program needs it"));
        }
    }
    faults
}

/// What was written into it and would be written otherwise now.
fn stale(tree: &Tree, contents: &Contents) -> Option<String> {
    let is_stale = |file: &&File| tree.content(&file.path) != Some(file.text.as_bytes());
    let stale: Vec<&str> = contents
        .files
        .iter()
        .filter(is_stale)
        .map(|file| file.path.as_str())
        .collect();
    // All the others are made of it.
    if stale.contains(&CONFIGURATION) {
        return Some("the configuration in it is not the machine's any more".to_owned());
    }
    (!stale.is_empty()).then(|| {
        let verb = if stale.len() == 1 { "is" } else { "are" };
        format!("in it {} {verb} not as it should be", stale.join(", "))
    })
}

fn is_systemd(tree: &Tree) -> bool {
    ["usr/lib/systemd/systemd", "lib/systemd/systemd"]
        .iter()
        .any(|path| tree.get(path).is_some())
}

/// Units that nothing starts, and what changes them from beside.
fn units(tree: &Tree, contents: &Contents) -> Vec<String> {
    let mut faults = Vec::new();
    for link in &contents.links {
        let is_there = matches!(tree.get(&link.path), Some(Entry::Link(to)) if *to == link.target);
        if !is_there {
            let (dir, name) = link.path.rsplit_once('/').unwrap_or(("", &link.path));
            let by = dir.rsplit('/').next().unwrap_or(dir);
            faults.push(format!("nothing starts {name} in it: no link in {by}"));
        }
    }
    let units = contents.files.iter().map(|file| file.path.as_str());
    for unit in units.filter(|path| path.contains("/systemd/system/")) {
        let name = unit.rsplit('/').next().unwrap_or(unit);
        for (path, entry) in &tree.entries {
            let is_mask = path.ends_with(&format!("/systemd/system/{name}"))
                && *path != unit.trim_start_matches('/')
                // Where /lib is a link, it may be packed as a directory of links too.
                && *entry != Entry::Other
                && !path.starts_with("lib/");
            let is_drop_in = path.contains(&format!("/{name}.d/")) && path.ends_with(".conf");
            if is_mask || is_drop_in {
                faults.push(format!("/{path} in it changes {name}"));
            }
        }
        if let Some(ring) = order::ring(tree, name) {
            let ring = ring.join(", ");
            faults.push(format!(
                "in it {ring} wait for each other in a ring, which systemd breaks by leaving one out"
            ));
        }
    }
    faults
}

/// The hooks of an initrd without systemd.
fn hooks(tree: &Tree) -> Vec<String> {
    let is_mkinitcpio = tree.get("hooks").is_some();
    // Where its files lie on the machine, and which of them go into the initrd.
    let (maker, dir, part) = match is_mkinitcpio {
        true => (Maker::Mkinitcpio, "/etc/initcpio/", "hooks/"),
        false => (Maker::InitramfsTools, "/etc/initramfs-tools/", "scripts/"),
    };
    let mut faults = Vec::new();
    for file in maker.files() {
        let path = file.path.strip_prefix(dir);
        let Some(path) = path.filter(|path| path.starts_with(part)) else {
            continue;
        };
        if tree.content(path) != Some(file.text.as_bytes()) {
            faults.push(format!("in it /{path} is not as it should be"));
            continue;
        }
        // What does not stand here is not run.
        if let Some((dir, _)) = path.rsplit_once('/').filter(|_| !is_mkinitcpio) {
            let order = tree.content(&format!("{dir}/ORDER")).unwrap_or_default();
            let line = format!("/{path} ");
            if !String::from_utf8_lossy(order)
                .lines()
                .any(|each| each.starts_with(&line))
            {
                faults.push(format!("/{dir}/ORDER in it does not name state"));
            }
        }
    }
    faults
}

/// What root and the stores cannot do without, beside the program.
fn needs(tree: &Tree, wanted: &Wanted) -> Vec<String> {
    let of_root = match wanted.root {
        Root::Btrfs { .. } => Some("btrfs"),
        Root::Zfs { .. } => Some("zfs"),
        Root::Overlay { .. } => Some("overlay"),
        Root::Tmpfs { .. } => None,
    };
    let stores = wanted.stores.iter().map(String::as_str);
    // Of any other, `auto` for one, nobody knows the module.
    let stores = stores.filter(|filesystem| STORES.contains(filesystem));
    let modules: BTreeSet<&str> = of_root.into_iter().chain(stores).collect();
    let mut faults = Vec::new();
    for module in &modules {
        let is_there = match *module {
            // One module for all three, unless a kernel is made otherwise.
            old @ ("ext2" | "ext3") => has_module(tree, old) || has_module(tree, "ext4"),
            module => has_module(tree, module),
        };
        if !is_there {
            faults.push(format!("the kernel's module {module} is not in it"));
        }
    }
    let programs: &[&str] = match modules.contains("zfs") {
        true => &["zfs", "zpool"],
        false => &[],
    };
    for program in programs {
        if !tree.has_file_named(|name| name == *program) {
            faults.push(format!("the program {program} is not in it"));
        }
    }
    faults
}

fn has_module(tree: &Tree, module: &str) -> bool {
    let file = format!("{module}.ko");
    let in_kernel = format!("/{file}");
    // What is part of the kernel has no file.
    let is_builtin = tree.entries.iter().any(|(path, entry)| match entry {
        Entry::File(Some(text)) if path.ends_with("/modules.builtin") => {
            let list = String::from_utf8_lossy(text);
            list.lines().any(|line| line.ends_with(&in_kernel))
        }
        _ => false,
    });
    // With or without a suffix that tells how it is compressed.
    is_builtin || tree.has_file_named(|name| name.starts_with(&file))
}
