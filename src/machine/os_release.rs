//! os-release(5). Pure.

/// What is installed on a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Distribution {
    /// As people read it: `Debian GNU/Linux 12 (bookworm)`.
    pub name: Option<String>,
    /// Whether it is NixOS: its programs are not in root, and it fills an empty root itself.
    pub is_nixos: bool,
}

impl Distribution {
    /// Reads the text of os-release.
    pub(super) fn parse(text: &str, is_nixos: bool) -> Self {
        let value = |key: &str| {
            text.lines().find_map(|line| {
                let value = line.strip_prefix(key)?.strip_prefix('=')?;
                Some(value.trim().trim_matches(['"', '\'']).to_owned())
            })
        };
        Self {
            is_nixos: is_nixos || value("ID").as_deref() == Some("nixos"),
            name: value("PRETTY_NAME").or_else(|| value("NAME")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nixos_is_told_from_the_others() {
        let debian = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\n";
        let told = Distribution::parse(debian, false);
        assert_eq!(told.name.as_deref(), Some("Debian GNU/Linux 12 (bookworm)"));
        assert!(!told.is_nixos);
        assert!(Distribution::parse("ID=nixos\n", false).is_nixos);
        assert!(Distribution::parse("", true).is_nixos);
        assert_eq!(Distribution::parse("", false), Distribution::default());
    }
}
