//! Processes: who they are, what they were told, what they have mapped.

use std::collections::BTreeMap;

use crate::host::doctor::tree::{Node, Tree};

/// Who a process is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::host::doctor) struct Credentials {
    /// Effective user.
    pub(in crate::host::doctor) uid: u32,
    /// Effective group and supplementary groups.
    pub(in crate::host::doctor) gids: Vec<u32>,
}

impl Credentials {
    /// Those of the process `name`: a number, or `self`.
    pub(in crate::host::doctor) fn read(tree: &Tree, name: &str) -> Option<Self> {
        let status = tree.text(&format!("proc/{name}/status"))?;
        let numbers = |field: &str| -> Vec<u32> {
            let line = status.lines().find_map(|line| line.strip_prefix(field));
            line.unwrap_or_default().split_whitespace().filter_map(|n| n.parse().ok()).collect()
        };
        let mut gids = numbers("Groups:");
        // Real, effective, saved, of the file system.
        gids.extend(numbers("Gid:").get(1));
        gids.sort_unstable();
        gids.dedup();
        Some(Self { uid: *numbers("Uid:").get(1)?, gids })
    }

    /// Whether this process may read and write a device.
    pub(in crate::host::doctor) fn may_use(&self, node: Node) -> bool {
        let bits = if self.uid == node.uid {
            node.mode >> 6
        } else if self.gids.contains(&node.gid) {
            node.mode >> 3
        } else {
            node.mode
        };
        self.uid == 0 || bits & 0o6 == 0o6
    }
}

/// The variables that this process was started with.
pub(super) fn own_environment(tree: &Tree) -> BTreeMap<String, String> {
    let text = tree.text("proc/self/environ").unwrap_or_default();
    let variables = text.split('\0').filter_map(|variable| variable.split_once('='));
    variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Processes of ours that serve, by their names and arguments: this command is none.
pub(super) fn servers(tree: &Tree) -> Vec<String> {
    let processes = tree.names("proc").into_iter();
    processes
        .filter(|pid| pid.bytes().all(|b| b.is_ascii_digit()))
        .filter(|pid| tree.text(&format!("proc/{pid}/comm")).as_deref() == Some("strixhalo"))
        .filter(|pid| {
            let line = tree.text(&format!("proc/{pid}/cmdline")).unwrap_or_default();
            let command = line.split('\0').nth(1).unwrap_or_default();
            command.is_empty() || command == "serve" || command.starts_with('-')
        })
        .collect()
}

/// The shared libraries that a process has mapped; none if it is another user's.
pub(super) fn libraries(tree: &Tree, process: &str) -> Vec<String> {
    let maps = tree.text(&format!("proc/{process}/maps")).unwrap_or_default();
    let mut files: Vec<String> = maps
        .lines()
        .filter_map(|line| line.find('/').map(|at| line[at..].to_owned()))
        .filter(|file| file.contains(".so"))
        .collect();
    files.dedup();
    files
}
