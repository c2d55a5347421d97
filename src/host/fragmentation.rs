//! How whole the free memory is.

use std::fs;
use std::path::Path;

/// The order of a block of 2 MiB in pages of 4 KiB.
const ORDER: usize = 9;

/// Free blocks of 2 MiB, larger ones counted as several, as `proc/buddyinfo` below `root` tells.
/// A GPU maps memory in such blocks where it can; in smaller pieces it is slower, and with few
/// whole ones left the kernel moves pages while it allocates. `None`: it cannot be read.
pub fn free_2mib_blocks(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/buddyinfo")).ok()?;
    let mut sum: u64 = 0;
    for line in text.lines() {
        // `Node 0, zone   Normal  36568  29436 ...`: free blocks by order.
        let blocks = line.split_once("zone")?.1.split_whitespace().skip(1);
        for (order, count) in blocks.enumerate().skip(ORDER) {
            let count: u64 = count.parse().ok()?;
            sum = sum.saturating_add(count.checked_shl((order - ORDER) as u32)?);
        }
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::tree::tree;

    #[test]
    fn blocks_of_two_and_four_mib_count_in_all_zones() {
        let root = tree(&[(
            "proc/buddyinfo",
            "Node 0, zone      DMA      0      0      0      0      0      0      0      0      1      1      3 \n\
             Node 0, zone   Normal  36568  29436   6041   3272   1951   1224    672   1662   1672    392    104 \n",
        )]);
        assert_eq!(free_2mib_blocks(root.path()), Some(1 + 2 * 3 + 392 + 2 * 104));
        assert_eq!(free_2mib_blocks(tree(&[("proc/buddyinfo", "x\n")]).path()), None);
        assert_eq!(free_2mib_blocks(Path::new("/nonexistent")), None);
    }
}
