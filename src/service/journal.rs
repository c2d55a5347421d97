//! systemd's journal.

use std::io;

use tracing_journald::{Layer, Priority, PriorityMappings};

/// Whether stderr is connected to the journal: systemd says so in `JOURNAL_STREAM`, as the device
/// and the inode of the socket. A redirection such as `2>file` inside the unit makes them differ.
pub(super) fn is_stderr() -> bool {
    let Ok(stat) = rustix::fs::fstat(rustix::stdio::stderr()) else { return false };
    std::env::var("JOURNAL_STREAM")
        .ok()
        .and_then(|stream| parse(&stream))
        .is_some_and(|stream| stream == (stat.st_dev, stat.st_ino))
}

fn parse(stream: &str) -> Option<(u64, u64)> {
    let (device, inode) = stream.split_once(':')?;
    Some((device.parse().ok()?, inode.parse().ok()?))
}

/// Sends each event as one entry: the message, and its fields under their own names in capitals
/// (`request_id` is `REQUEST_ID`), so that `journalctl REQUEST_ID=..` finds it.
pub(super) fn layer() -> io::Result<Layer> {
    let mappings = PriorityMappings {
        // The crate's own has info as notice and debug as info, which `journalctl -p` would show
        // one level too high.
        info: Priority::Informational,
        debug: Priority::Debug,
        trace: Priority::Debug,
        ..PriorityMappings::new()
    };
    Ok(Layer::new()?
        .with_field_prefix(None)
        .with_syslog_identifier(env!("CARGO_PKG_NAME").to_owned())
        .with_priority_mappings(mappings))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_a_device_and_an_inode_and_nothing_else() {
        assert_eq!(parse("8:1234567"), Some((8, 1_234_567)));
        for other in ["", "8", "8:", ":8", "8:x", "8:1:2", "-8:1"] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
