//! Readers of /proc and /sys.
