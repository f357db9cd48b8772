//! Rule 7: metadata that an archive may not bring along.

use super::forge::{Forge, member, record};
use super::{FILE, outcome};

#[test]
fn what_belongs_to_another_machine_is_dropped_and_said() {
    let mut forge = Forge::new(&[]);
    let mut member = member("file", FILE, b"");
    member.extra.xattrs = [(b"security.ima".to_vec(), b"signature".to_vec())].into();
    forge.records.push(record(&member, b""));
    forge.members.push((member.encode().unwrap(), Vec::new()));
    assert_eq!(
        outcome(&forge.make()),
        Ok(vec![
            "attribute security.ima: attributes of this kind are not restored".into()
        ])
    );
}
