//! P8: targets of an import belong to the job, and are judged by P1.

use super::*;
use ambit::authz::change::{AccountPatch, ChangeProblem};
use ambit::imports::{
    Assigned, Import, ImportError, ImportRequest, LineProblem, Mode, Row, RowContent, RowProblem,
    Withheld,
};

struct Imported {
    import: Import,
    problems: Vec<LineProblem>,
    withheld: Vec<Withheld>,
}

impl Imported {
    fn withheld(&self) -> Vec<(u64, String, &str)> {
        let told = self.withheld.iter();
        told.map(|told| (told.line, told.target.to_string(), told.reason))
            .collect()
    }
}

fn job(actor: Option<&str>, targets: &[&str]) -> ImportRequest {
    ImportRequest {
        account: id("acme"),
        key: id("k"),
        job: id("j"),
        mode: Mode::Merge,
        targets: targets.iter().map(|text| principal(text)).collect(),
        actor: actor.map(id),
        batch_rows: 0,
        errors_max: 0,
        dry_run: false,
        author: Author::anyone("ImportResources"),
    }
}

fn record(key: &str) -> RowContent {
    RowContent {
        resource: ResourcePatch {
            key: contact(key),
            owners: None,
            owning_team: None,
            partitioned: None,
            attributes: None,
            creator: None,
        },
        assigned_to: Vec::new(),
    }
}

async fn import(
    scene: &Scene,
    request: ImportRequest,
    contents: Vec<RowContent>,
) -> Result<Imported, ImportError> {
    let mut import = Import::begin(scene.replica.directory.clone(), request).await?;
    for (line, content) in (1..).zip(contents) {
        assert!(import.add(Row::new(line, Ok(content))).is_none());
    }
    let batch = import.rest().unwrap();
    let problems = import.write(batch).await?;
    let withheld = import.take_withheld();
    Ok(Imported {
        import,
        problems,
        withheld,
    })
}

/// With `import`, on top of what the users of the scene may.
async fn scene() -> Scene {
    let scene = Scene::new().await;
    let may_import = ["owner", "member", "assigner", "idle"];
    scene
        .apply(may_import.map(|user| may(user, "contact", "import")).into())
        .await;
    scene
}

fn of_job(rows: &[&str]) -> (bool, Vec<String>) {
    (true, rows.iter().map(|row| (*row).to_owned()).collect())
}

#[tokio::test]
async fn p8_every_record_that_is_made_or_updated_gets_the_targets_of_the_job() {
    let scene = scene().await;
    let contents = || vec![record("new"), record("free"), record("walled")];
    let imported = import(&scene, job(None, &["team:fr"]), contents()).await;
    let imported = imported.unwrap();
    assert_eq!((imported.problems, imported.withheld), (vec![], vec![]));
    assert_eq!(scene.rows("new").await, of_job(&["team:fr import:j"]));
    assert_eq!(scene.rows("free").await, of_job(&["team:fr import:j"]));
    let both = of_job(&["team:dach manual", "team:fr import:j"]);
    assert_eq!(scene.rows("walled").await, both);

    // The undo takes those rows alone; records and other rows stay.
    let undone = scene.run(request(Work::UndoImport(id("j")))).await.unwrap();
    assert_eq!(undone.counted(), (3, 0, 0));
    assert_eq!(scene.rows("new").await, (true, vec![]));
    assert_eq!(scene.rows("walled").await, of_job(&["team:dach manual"]));
}

#[tokio::test]
async fn p8_a_target_is_not_applied_to_a_record_that_the_importer_may_not_assign() {
    let scene = scene().await;
    let contents = || {
        vec![
            record("new"),
            record("free"),
            record("owned"),
            record("walled"),
        ]
    };
    // An owner of one, a member of the assigned team of another.
    let asked = || job(Some("owner"), &["team:de"]);
    let imported = import(&scene, asked(), contents()).await.unwrap();
    assert_eq!(imported.problems, []);
    let free = [(2, "team:de".to_owned(), "NO_ASSIGN_AUTHORITY")];
    assert_eq!(imported.withheld(), free);
    assert_eq!(imported.import.progress().withheld, 1);
    for key in ["new", "owned"] {
        assert_eq!(
            scene.rows(key).await,
            of_job(&["team:de import:j"]),
            "{key}"
        );
    }
    let both = of_job(&["team:dach manual", "team:de import:j"]);
    assert_eq!(scene.rows("walled").await, both);
    assert_eq!(scene.rows("free").await, (false, vec![]), "it stays open");

    // Whoever takes the import up is told the same.
    let again = import(&scene, asked(), contents()).await.unwrap();
    assert_eq!(again.import.progress().skipped, 4);
    assert_eq!(again.withheld(), free);
    // The control: with `partition.assign` it is applied.
    let other = ImportRequest {
        key: id("k2"),
        ..job(Some("assigner"), &["team:de"])
    };
    let imported = import(&scene, other, vec![record("free")]).await.unwrap();
    assert_eq!((imported.withheld(), &imported.problems), (vec![], &vec![]));
    assert_eq!(scene.rows("free").await, of_job(&["team:de import:j"]));
}

#[tokio::test]
async fn p1_a_job_names_targets_within_the_importers_teams_only() {
    let scene = scene().await;
    for target in ["team:fr", "team:emea", "user:fred", "group:vip"] {
        let refused = import(&scene, job(Some("owner"), &[target]), vec![record("new")]).await;
        assert!(
            matches!(&refused, Err(ImportError::TargetBeyond { index: 0, target: named }) if *named == principal(target)),
            "{target}"
        );
    }
    let gone = import(&scene, job(Some("gone"), &[]), vec![record("new")]).await;
    assert!(matches!(gone, Err(ImportError::Actor(_))));
    let unknown = import(&scene, job(None, &["team:x"]), vec![record("new")]).await;
    assert!(matches!(unknown, Err(ImportError::UnknownTarget { .. })));
    assert!(scene.resource("new").await.is_none());
}

#[tokio::test]
async fn p8_targets_and_authority_never_come_from_the_rows_of_a_user() {
    let scene = scene().await;
    let of = |key: &str, change: &dyn Fn(&mut RowContent)| {
        let mut content = record(key);
        change(&mut content);
        content
    };
    type Case<'a> = (&'a str, &'a str, &'a dyn Fn(&mut RowContent), &'a str);
    let cases: [Case<'_>; 9] = [
        // Without `import` there is no import at all.
        ("dana", "new", &|_| {}, "id"),
        (
            "owner",
            "new",
            &|row| {
                row.assigned_to.push(Assigned {
                    principal: principal("team:de"),
                    expires_at: None,
                });
            },
            "assigned_to[0]",
        ),
        (
            "owner",
            "owned",
            &|row| row.resource.partitioned = Some(true),
            "partitioned",
        ),
        (
            "owner",
            "walled",
            &|row| row.resource.partitioned = Some(false),
            "partitioned",
        ),
        // Ownership passes walls and gives authority: it is given like an assignment.
        (
            "owner",
            "free",
            &|row| row.resource.owners = Some(ids(&["owner"])),
            "owners",
        ),
        (
            "owner",
            "new",
            &|row| row.resource.owners = Some(ids(&["fred"])),
            "owners",
        ),
        (
            "owner",
            "new",
            &|row| row.resource.owning_team = Some(Some(id("fr"))),
            "owning_team",
        ),
        (
            "member",
            "owned",
            &|row| row.resource.owners = Some(ids(&[])),
            "owners",
        ),
        (
            "owner",
            "new",
            &|row| row.resource.creator = Some(id("fred")),
            "creator",
        ),
    ];
    for (index, (actor, key, change, field)) in cases.iter().enumerate() {
        let before = scene.resource(key).await;
        let asked = job(Some(actor), &[]);
        let imported = import(&scene, asked, vec![of(key, *change)]).await.unwrap();
        let problem = &imported.problems[0];
        assert_eq!(problem.field, *field, "case {index}");
        assert!(
            matches!(
                &problem.problem,
                RowProblem::Change(ChangeProblem::Forbidden(_))
            ),
            "case {index}: {problem:?}"
        );
        assert_eq!(scene.resource(key).await, before, "case {index}");
    }
    // The controls.
    let own = [
        of("new", &|row| {
            row.resource.owners = Some(ids(&["owner", "dana"]));
            row.resource.owning_team = Some(Some(id("de")));
        }),
        of("owned", &|row| row.resource.owners = Some(ids(&["member"]))),
    ];
    let imported = import(&scene, job(Some("owner"), &[]), own.into()).await;
    assert_eq!(imported.unwrap().problems, []);
    let any = ImportRequest {
        key: id("k2"),
        ..job(Some("sa"), &[])
    };
    let closed = of("free", &|row| row.resource.partitioned = Some(true));
    assert_eq!(
        import(&scene, any, vec![closed]).await.unwrap().problems,
        []
    );
}

#[tokio::test]
async fn p10_records_that_a_user_imports_are_kept_to_the_user_and_the_main_team() {
    let scene = scene().await;
    let kept = Change::PutAccount(AccountPatch {
        unpartitioned: vec![(id("contact"), Some(UnpartitionedDefault::CreatorAndTeam))],
        ..AccountPatch::default()
    });
    scene.apply(vec![kept]).await;
    let contents = vec![record("new"), record("owned")];
    let imported = import(&scene, job(Some("owner"), &[]), contents).await;
    assert_eq!(imported.unwrap().problems, []);
    let own = of_job(&["user:owner default", "team:dach default"]);
    assert_eq!(scene.rows("new").await, own);
    assert_eq!(
        scene.rows("owned").await,
        (false, vec![]),
        "not retroactive"
    );
    // Where the job assigns it, it has been said to whom it goes.
    let targeted = ImportRequest {
        key: id("k2"),
        ..job(Some("owner"), &["team:de"])
    };
    import(&scene, targeted, vec![record("newer")])
        .await
        .unwrap();
    assert_eq!(scene.rows("newer").await, of_job(&["team:de import:j"]));
}

/// P1: an import takes nothing away for somebody who only adds, whatever job it says it is.
#[tokio::test]
async fn p1_replacing_takes_no_assignment_of_the_job_without_the_right_to() {
    let scene = scene().await;
    let contents = || vec![record("owned")];
    import(&scene, job(None, &["team:fr"]), contents())
        .await
        .unwrap();
    let replacing = |actor: &str, key: &str| ImportRequest {
        mode: Mode::Replace,
        key: id(key),
        ..job(Some(actor), &[])
    };
    let refused = import(&scene, replacing("owner", "k2"), contents()).await;
    let refused = refused.unwrap();
    assert_eq!(refused.problems.len(), 1);
    let problem = format!("{:?}", refused.problems);
    assert!(problem.contains("partition.assign"), "{problem}");
    assert_eq!(scene.rows("owned").await, of_job(&["team:fr import:j"]));
    // The control.
    let taken = import(&scene, replacing("sa", "k3"), contents()).await;
    assert_eq!(taken.unwrap().problems, []);
    assert_eq!(scene.rows("owned").await, (true, vec![]));
}
