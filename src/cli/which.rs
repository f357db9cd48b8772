//! Which archives are meant: the options that all verbs have that read archives.

use super::Globals;
use crate::ops::archives;
use std::path::PathBuf;

/// Where archives are, whose they are, who is believed about them, and what opens them.
#[derive(Debug, clap::Args)]
pub struct Which {
    /// Only this target, by name or URL; by default all that are configured.
    #[arg(long, global = true, value_name = "TARGET")]
    from: Option<String>,
    /// The machine whose archives are meant; by default this one.
    #[arg(long, global = true, value_name = "NAME")]
    machine: Option<String>,
    /// A file with the age key that opens encrypted archives; may be given several times.
    #[arg(long, global = true, value_name = "FILE")]
    identity: Vec<PathBuf>,
    /// Believe what this key signed, whatever the configuration says: its fingerprint, SHA256:….
    #[arg(long, global = true, value_name = "FINGERPRINT")]
    trust_key: Option<String>,
    /// Believe the keys in this allowed_signers file, whatever the configuration says: on fresh
    /// hardware, the one in your configuration's repository.
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "trust_key")]
    trusted_signers: Option<PathBuf>,
    /// A file with `aws_access_key_id` and `aws_secret_access_key`, for a target that is named by
    /// its URL; by default the environment has them.
    #[arg(long, global = true, value_name = "FILE")]
    credentials: Option<PathBuf>,
    /// The private key for an ssh server, in the same case; by default those that `ssh` uses.
    #[arg(long, global = true, value_name = "FILE")]
    ssh_key: Option<PathBuf>,
    /// The file with the ssh server's host key, in the same case.
    #[arg(long, global = true, value_name = "FILE")]
    known_hosts: Option<PathBuf>,
}

impl Which {
    /// As the verbs take it.
    pub fn archives(self, globals: &Globals) -> archives::Which {
        archives::Which {
            from: self.from,
            machine: self.machine,
            trust_key: self.trust_key,
            trusted_signers: self.trusted_signers,
            keyring: globals.keyring(self.identity),
            access: archives::Access {
                credentials: self.credentials,
                key: self.ssh_key,
                known_hosts: self.known_hosts,
            },
        }
    }
}
