//! `[archive]`: how archives are made.

use super::table::{defaults, table};
use std::path::PathBuf;

table! {
    /// `[archive]`
    pub struct Archive {
        /// The zstd level, 1 to 19.
        level: i32 = (3), example "9";
        /// How many archives build on each other at most, the full one counted: an archive holds
        /// what changed since the last one, and restoring it needs them all. 1: every archive is
        /// a full one; 1000 is the most.
        full_every: u32 = (30), example "7";
        /// Patterns of paths that are not archived.
        exclude: Vec<String> = (Vec::new()), example "[\"**/.cache\"]";
        /// Who can read archives: age recipients, or absolute paths of files that list some, one a
        /// line. Without any, archives are not encrypted. The keys that open them are not needed
        /// to make archives, and are better kept elsewhere.
        encrypt_to: Vec<String> = (Vec::new()), example "[\"age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj\", \"/etc/state/recipients\"]";
        /// The age keys that open encrypted archives here, as age-keygen(1) writes them. Better
        /// left out, and named with `--identity` when an archive is to be read.
        identity_file: Option<PathBuf> = (None), example "\"/run/keys/state.age\"";
        /// The private key that signs archives: an OpenSSH key of type ed25519 without a
        /// passphrase. Without it archives are unsigned.
        sign_with: Option<PathBuf> = (None), example "\"/etc/ssh/ssh_host_ed25519_key\"";
        /// The keys that are believed when archives are read: an `allowed_signers` file, see
        /// ssh-keygen(1). An archive signed by another key is refused.
        trusted_signers: Option<PathBuf> = (None), example "\"/etc/state/allowed_signers\"";
        /// Make the nightly archive, and drills, while the machine runs on its battery too. `false`
        /// is a condition of the units that `state init --install-boot` installs.
        on_battery: bool = (true), example "false";
        /// What runs before and after `state backup`.
        hooks: Hooks = (Hooks::default()), example "";
    }
    later []
}

table! {
    /// `[archive.hooks]`
    pub struct Hooks {
        /// Runs before the stores are looked at: a program and its arguments, without a shell. If it
        /// fails, there is no backup.
        before: Vec<String> = (Vec::new()), example "[\"systemctl\", \"stop\", \"forgejo\"]";
        /// Runs after it, also after a failure: the reverse of `before`.
        after: Vec<String> = (Vec::new()), example "[\"systemctl\", \"start\", \"forgejo\"]";
        /// Runs last if anything was not done.
        on_failure: Vec<String> = (Vec::new()), example "[\"sh\", \"-c\", \"echo $STATE_ERROR | mail root\"]";
        /// So many seconds each of them may take; then it is killed and counts as failed.
        time_limit: u32 = (600), example "60";
    }
    later []
}

defaults! { Archive, Hooks }
