//! Drills.

use super::*;

#[test]
fn whether_a_drill_can_be_done_is_told() {
    let with = |own_key: bool, drill: &str| {
        found(|facts| {
            facts.drill = Some(drill::Drill {
                own_key: own_key.then(|| "/persist/.state/drill.key".into()),
            });
            let settings = &mut facts.config.as_mut().unwrap().settings;
            let text = format!("[archive]\n{drill}");
            let parsed: crate::settings::Settings = text.parse().unwrap();
            (settings.archive, settings.drill) = (parsed.archive, parsed.drill);
        })
    };
    let locked = "encrypt-to = [\"age1x\"]\n";
    let asked = "[drill]\nmax-age = \"7 d\"\n";
    let own = "[drill]\nmax-age = \"7 d\"\nrecipient = true\n";
    let none = "no drill can be done here: no key on this machine opens its archives";
    for (own_key, drill, wanted) in [
        (false, asked.to_owned(), None),
        (false, locked.to_owned(), Some(format!("Note: {none}"))),
        (
            false,
            format!("{locked}{asked}"),
            Some(format!("Warn: {none}")),
        ),
        (
            false,
            format!("{locked}identity-file = \"/k\"\n{asked}"),
            None,
        ),
        (
            false,
            format!("{locked}{own}"),
            Some(
                "Warn: no drill can be done here yet: the key for drills comes with the next full \
                 archive"
                    .into(),
            ),
        ),
        (
            true,
            format!("{locked}{own}"),
            Some(
                "Note: /persist/.state/drill.key opens the archives of the last chain: whoever \
                 takes this machine has that key"
                    .into(),
            ),
        ),
        (
            false,
            own.to_owned(),
            Some("Note: [drill] recipient does nothing: archives are not encrypted".into()),
        ),
    ] {
        let wanted: Vec<_> = wanted.iter().map(|fact| format!("drill {fact}")).collect();
        assert_eq!(with(own_key, &drill), wanted, "{drill}");
    }
}
