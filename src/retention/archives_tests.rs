use super::*;

fn at(day: i64, hour: i64) -> DateTime<Utc> {
    // 2026-12-01, so that a year sees both changes of summer time and two new years.
    DateTime::from_timestamp(1_796_083_200, 0).unwrap()
        + TimeDelta::days(day)
        + TimeDelta::hours(hour)
}

fn archive(n: usize, at: DateTime<Utc>, parent: Option<&str>) -> Archived {
    Archived {
        name: format!("{n:04}"),
        at,
        parent: parent.map(str::to_owned),
        is_complete: true,
        doubt: None,
    }
}

const POLICY: Keep = Keep {
    last: 3,
    hourly: 0,
    daily: 7,
    weekly: 4,
    monthly: 12,
    yearly: 0,
};

fn gone(verdicts: &[Verdict<String>]) -> Vec<String> {
    let gone = verdicts.iter().filter(|verdict| !verdict.is_kept());
    gone.map(|verdict| verdict.name.clone()).collect()
}

/// A year of nightly runs, each followed by a prune, on a machine whose clock is not always right.
#[test]
fn a_year_of_nights() {
    let mut there: Vec<Archived> = Vec::new();
    let mut made = 0;
    let mut most = 0;
    for day in 0..365 {
        // The hardware clock keeps local time and is taken for UTC: an hour off in summer.
        let summer = if (118..328).contains(&day) { 1 } else { 0 };
        let runs = match day {
            // Once the machine is started twice within a second, and once it catches up at noon.
            50 => vec![at(day, 3), at(day, 3)],
            90 => vec![at(day, 3), at(day, 12)],
            // The battery of the clock is empty, for two nights.
            200 | 201 => vec![DateTime::from_timestamp(90_000 + day * 60, 0).unwrap()],
            _ => vec![at(day, 3 + summer)],
        };
        for now in runs {
            let chain = made % 7;
            let parent = there
                .last()
                .filter(|_| chain > 0)
                .map(|last| last.name.clone());
            there.push(archive(made, now, parent.as_deref()));
            made += 1;
            let verdicts = archives(&there, &POLICY, now, None);
            let gone = gone(&verdicts);
            if day == 200 || day == 201 {
                assert_eq!(gone, Vec::<String>::new(), "the clock is wrong");
            }
            there.retain(|archive| !gone.contains(&archive.name));
            let is_there = |name: &str| there.iter().any(|archive| archive.name == name);
            for archive in &there {
                let parent = archive.parent.as_deref();
                assert!(parent.is_none_or(is_there), "{archive:?} lost its parent");
            }
            for newest in made.saturating_sub(3)..made {
                assert!(is_there(&format!("{newest:04}")), "the last three stay");
            }
            most = most.max(there.len());
        }
    }
    assert!(most < 120, "{most}: nothing grows without end");
    // The first night of most months is still there; what is not is a night of the same month.
    let months: BTreeSet<(i32, u32)> = there
        .iter()
        .map(|archive| (archive.at.year(), archive.at.month()))
        .collect();
    assert!(months.len() >= 12, "{months:?}");
}

#[test]
fn a_clock_ten_years_ahead_deletes_nothing() {
    let mut there: Vec<_> = (0..40).map(|n| archive(n, at(n as i64, 3), None)).collect();
    let ahead = at(3650, 3);
    there.push(archive(40, ahead, None));
    // With the clock ahead, every rule still keeps the newest of its periods, whenever they were.
    let kept = archives(&there, &POLICY, ahead, None);
    let before = archives(&there[..40], &POLICY, at(39, 4), None);
    let lost = gone(&kept)
        .into_iter()
        .filter(|name| !gone(&before).contains(name));
    let lost: Vec<String> = lost.collect();
    assert!(
        lost.len() <= 3,
        "one place of each rule at most is taken: {lost:?}"
    );
    // And when it is right again, what it wrote lies ahead: nothing goes until that is looked at.
    let verdicts = archives(&there, &POLICY, at(40, 3), None);
    assert_eq!(gone(&verdicts), Vec::<String>::new());
    assert!(
        verdicts
            .iter()
            .all(|v| v.kept_by.contains(&Reason::ClockWrong))
    );
}

#[test]
fn every_verdict_has_its_reasons() {
    let mut there: Vec<_> = (0..6).map(|n| archive(n, at(n as i64, 3), None)).collect();
    there[1].parent = Some("0000".into());
    there[2].doubt = Some(Reason::Broken);
    there[4].is_complete = false;
    let policy = Keep {
        last: 1,
        ..Keep::default()
    };
    let reasons = |there: &[Archived], doubt| {
        let verdicts = archives(there, &policy, at(9, 3), doubt);
        verdicts
            .into_iter()
            .map(|verdict| verdict.kept_by)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        reasons(&there, None),
        [
            vec![],
            vec![],
            vec![Reason::Broken],
            vec![],
            vec![],
            vec![Reason::Newest, Reason::Last],
        ]
    );
    there[5].parent = Some("0001".into());
    assert_eq!(
        reasons(&there, None)[..2],
        [vec![Reason::Parent], vec![Reason::Parent]]
    );
    // An incomplete one that is the newest stays, and takes nobody's place.
    there[5].is_complete = false;
    let some = reasons(&there, None);
    assert_eq!(some[5], [Reason::NothingBetter]);
    assert_eq!(some[3], [Reason::Newest, Reason::Last]);
    let doubt = reasons(&there, Some(Reason::NewestUnproven));
    assert!(
        doubt
            .iter()
            .all(|kept_by| kept_by.contains(&Reason::NewestUnproven))
    );
    let none = archives(&there, &Keep::default(), at(9, 3), None);
    assert_eq!(gone(&none), Vec::<String>::new());
}

/// The clock stood at 1970 when an increment was made: its name comes before those it builds on.
#[test]
fn a_chain_is_kept_whole_whatever_its_names_say() {
    let named = |name: &str, at, parent: Option<&str>| Archived {
        name: name.to_owned(),
        ..archive(0, at, parent)
    };
    let epoch = DateTime::from_timestamp(7, 0).unwrap();
    let there = [
        named("20261201T000000Z-a", at(0, 0), None),
        named("20261202T000000Z-b", at(1, 0), Some("20261201T000000Z-a")),
        named("19700101T000007Z-c", epoch, Some("20261202T000000Z-b")),
        named("20271201T000000Z-d", at(365, 0), None),
    ];
    let policy = Keep {
        last: 1,
        ..Keep::default()
    };
    let verdicts = archives(&there, &policy, at(366, 0), None);
    assert_eq!(gone(&verdicts), [""; 0], "{verdicts:?}");
}
