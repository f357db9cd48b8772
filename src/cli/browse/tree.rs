//! Differences as a tree: what is in a directory, and how much of it.

use crate::diff::{Change, What};
use crate::paths::Shown;
use state_linux::stat::Kind;
use std::path::{Path, PathBuf};

/// One line of the tree.
#[derive(Debug)]
pub(super) struct Node {
    /// Where it is on the machine.
    pub path: PathBuf,
    /// As people read it.
    pub name: String,
    /// What happened to it; `None`: it only leads to what changed.
    pub sign: Option<char>,
    /// What is new or rewritten here and below.
    pub bytes: u64,
    /// The biggest of what lies beside it, itself included.
    pub biggest_bytes: u64,
    pub above: Option<usize>,
    /// Biggest first.
    pub below: Vec<usize>,
    pub depth: usize,
}

impl Node {
    /// Whether there is anything that could be kept.
    pub(super) fn is_gone(&self) -> bool {
        self.sign == Some('-')
    }
}

/// All of it; the first node is the machine's root.
#[derive(Debug)]
pub(super) struct Tree(pub Vec<Node>);

impl Tree {
    /// The tree of changes in walking order.
    pub(super) fn new(changes: &[Change]) -> Self {
        let mut tree = Self(vec![node("/".into(), None)]);
        let mut way = vec![0];
        for change in changes {
            let path = Path::new("/").join(&change.path);
            while !path.starts_with(&tree.0[way[way.len() - 1]].path) {
                way.pop();
            }
            let last = tree.0[way[way.len() - 1]].path.clone();
            let mut so_far = last.clone();
            for name in path.strip_prefix(&last).unwrap_or(&path) {
                so_far.push(name);
                let above = way[way.len() - 1];
                let index = tree.0.len();
                tree.0.push(node(so_far.clone(), Some(above)));
                tree.0[index].depth = way.len();
                tree.0[above].below.push(index);
                way.push(index);
            }
            let own = way[way.len() - 1];
            tree.0[own].sign = Some(match change.what {
                What::Created => '+',
                What::Changed { .. } => '~',
                What::Deleted => '-',
                What::Renamed { .. } => '>',
            });
            if change.kind == Kind::Directory && own != 0 {
                tree.0[own].name.push('/');
            }
            if change.what != What::Deleted {
                for index in way.clone() {
                    tree.0[index].bytes += change.size_bytes;
                }
            }
        }
        tree.finish();
        tree
    }

    /// Sorts, and marks what has something below it as a directory.
    fn finish(&mut self) {
        for index in 0..self.0.len() {
            let mut below = std::mem::take(&mut self.0[index].below);
            below.sort_by_key(|child| std::cmp::Reverse(self.0[*child].bytes));
            let biggest_bytes = below.first().map_or(0, |first| self.0[*first].bytes);
            for child in &below {
                self.0[*child].biggest_bytes = biggest_bytes;
            }
            let node = &mut self.0[index];
            if !below.is_empty() && !node.name.ends_with('/') {
                node.name.push('/');
            }
            node.below = below;
        }
        self.0[0].biggest_bytes = self.0[0].bytes;
    }

    /// Those above a node, the nearest first.
    pub(super) fn above(&self, index: usize) -> impl Iterator<Item = usize> {
        std::iter::successors(self.0[index].above, |above| self.0[*above].above)
    }
}

fn node(path: PathBuf, above: Option<usize>) -> Node {
    let name = path.file_name().map_or(Path::new("/"), Path::new);
    Node {
        name: Shown(name).to_string(),
        path,
        sign: None,
        bytes: 0,
        biggest_bytes: 0,
        above,
        below: Vec::new(),
        depth: 0,
    }
}
