//! The new mount API: detached mounts, bind mounts, remounts.
