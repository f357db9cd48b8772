//! Who owns what is restored: by name through the user table of the system that it is restored
//! for, else by number. The numbers of services differ from one installation to the next.

use super::machine::Machine;
use super::manifest::Bytes;
use crate::persist::Users;
use state_linux::acl::{Acl, Who};
use std::collections::BTreeMap;

/// Numbers of an archive whose names have other numbers in the restored system.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Owners {
    /// Users.
    pub users: BTreeMap<u32, u32>,
    /// Groups.
    pub groups: BTreeMap<u32, u32>,
}

impl Owners {
    /// Those of `machine`'s archive in a system with these users.
    pub fn by_name(machine: &Machine, here: &Users) -> Self {
        let other = |names: &BTreeMap<u32, Bytes>, number: &dyn Fn(&str) -> Option<u32>| {
            let numbers = names.iter().filter_map(|(then, name)| {
                let now = number(std::str::from_utf8(&name.0).ok()?)?;
                (now != *then).then_some((*then, now))
            });
            numbers.collect()
        };
        Self {
            users: other(&machine.users, &|name| here.uid(name)),
            groups: other(&machine.groups, &|name| here.gid(name)),
        }
    }

    /// The number here of the archive's user `id`.
    pub fn user(&self, id: u32) -> u32 {
        self.users.get(&id).copied().unwrap_or(id)
    }

    /// The same of a group.
    pub fn group(&self, id: u32) -> u32 {
        self.groups.get(&id).copied().unwrap_or(id)
    }

    /// An ACL of the archive as it is here.
    #[must_use]
    pub fn acl(&self, acl: &Acl) -> Acl {
        acl.map(|who| match who {
            Who::User(id) => Who::User(self.user(id)),
            Who::Group(id) => Who::Group(self.group(id)),
            who => who,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::FORMAT;

    #[test]
    fn names_decide_and_numbers_stay_where_there_is_none() {
        let name = |name: &[u8]| Bytes(name.to_vec());
        let machine = Machine {
            format: FORMAT,
            tool: String::new(),
            id: String::new(),
            parent: None,
            machine: String::new(),
            time: String::new(),
            root: None,
            stores: Vec::new(),
            config: None,
            nixos: None,
            users: [(0, name(b"root")), (7, name(b"git")), (8, name(b"\xff"))].into(),
            groups: [(0, name(b"root")), (9, name(b"git")), (10, name(b"gone"))].into(),
        };
        let here = Users::parse(
            b"root:x:0:0::/:\ngit:x:990:990::/:\nsshd:x:7:7::/:\n",
            b"git:x:991:\nroot:x:0:\n",
        );
        let owners = Owners::by_name(&machine, &here);
        assert_eq!([0, 7, 8, 1000].map(|id| owners.user(id)), [0, 990, 8, 1000]);
        assert_eq!([0, 9, 10].map(|id| owners.group(id)), [0, 991, 10]);
        let acl = "user::rwx,user:7:r--,group::r-x,group:9:--x,mask::rwx,other::---";
        assert_eq!(
            owners.acl(&acl.parse().unwrap()).to_string(),
            "user::rwx,user:990:r--,group::r-x,group:991:--x,mask::rwx,other::---"
        );
    }
}
