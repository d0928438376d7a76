//! The oracle's own reading of a catalog's YAML: names and sets of names, nothing compiled.

use std::collections::{BTreeMap, BTreeSet};

use ambit::authz::decision::Presentation;
use serde::Deserialize;

pub struct Suite {
    pub types: BTreeMap<String, SuiteType>,
    pub plans: BTreeMap<String, SuitePlan>,
    pub seats: BTreeSet<String>,
    pub read_only_seats: BTreeSet<String>,
}

pub struct SuiteType {
    pub actions: Vec<String>,
    pub flag: bool,
    pub grantable: bool,
    pub permissions: BTreeMap<String, Vec<String>>,
    /// By the key of a grant, after `TYPE.`: the actions that it gives.
    pub gives: BTreeMap<String, BTreeSet<String>>,
    pub same_as: BTreeMap<String, String>,
    pub always: BTreeSet<String>,
    pub tool_level: BTreeSet<String>,
    pub read_only: BTreeSet<String>,
    pub needs_payment: BTreeSet<String>,
    /// Derived action to the entries of its ANY_OF.
    pub derived: BTreeMap<String, Vec<String>>,
    pub reserved: BTreeMap<String, SuiteReserved>,
    pub seats: BTreeSet<String>,
    pub no_view: Presentation,
    pub requestable: bool,
}

#[derive(Clone)]
pub struct SuiteReserved {
    pub account_owner: bool,
    pub super_admin: bool,
    pub partner_admin: bool,
    pub explicit_grant: bool,
    pub except_partner_users: bool,
}

#[derive(Clone, Default)]
pub struct SuitePlan {
    pub nested_teams: bool,
    pub object_access_requests: bool,
    pub partitions: BTreeSet<String>,
    /// Types, or TYPE.ACTION.
    without: BTreeSet<String>,
}

impl SuitePlan {
    pub fn has(&self, resource_type: &str, action: &str) -> bool {
        !self.without.contains(resource_type)
            && !self.without.contains(&format!("{resource_type}.{action}"))
    }
}

impl SuiteType {
    pub fn canonical<'a>(&'a self, action: &'a str) -> &'a str {
        self.same_as.get(action).map_or(action, String::as_str)
    }

    /// Keys that a grant may name, after `TYPE.`.
    pub fn grant_keys(&self) -> Vec<&str> {
        if !self.grantable {
            return Vec::new();
        }
        let actions = self
            .actions
            .iter()
            .filter(|action| !self.derived.contains_key(*action))
            .filter(|action| !self.same_as.contains_key(*action));
        let mut keys: Vec<&str> = actions
            .chain(self.permissions.keys())
            .map(String::as_str)
            .collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// Actions that a grant of this key gives, closed under implication (3.3). A derived action
    /// and one that stands for another have no permission of their own.
    fn close(&self, implications: &BTreeMap<String, Vec<String>>, key: &str) -> BTreeSet<String> {
        let mut given: Vec<String> = match self.permissions.get(key) {
            Some(bundle) => bundle.clone(),
            None => vec![key.to_owned()],
        };
        let mut closed = BTreeSet::new();
        while let Some(action) = given.pop() {
            if self.actions.contains(&action) && closed.insert(action.clone()) {
                given.extend(implications.get(&action).into_iter().flatten().cloned());
            }
        }
        closed
    }
}

impl Suite {
    pub fn built_in(name: &str) -> Self {
        let path = format!("{}/catalogs/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
        Self::read(&std::fs::read_to_string(path).expect("a catalog file"))
    }

    /// Whether a grant of `TYPE.KEY` counts for the action (3.2 step 6): it gives the action, or
    /// one of the ANY_OF of a derived action.
    pub fn counts(&self, of: &str, key: &str, resource_type: &str, action: &str) -> bool {
        let Some(given) = self.types.get(of).and_then(|kind| kind.gives.get(key)) else {
            return false;
        };
        match self.types[resource_type].derived.get(action) {
            None => of == resource_type && given.contains(action),
            Some(any_of) => any_of.iter().any(|entry| {
                let (entry_type, wanted) = entry.rsplit_once('.').expect("TYPE.KEY");
                of == entry_type && self.meets(&self.types[entry_type], given, wanted)
            }),
        }
    }

    fn meets(&self, kind: &SuiteType, given: &BTreeSet<String>, wanted: &str) -> bool {
        match kind.permissions.get(wanted) {
            // Any permission of the type; always-allowed actions don't count.
            None if wanted == "*" => given.iter().any(|action| !kind.always.contains(action)),
            None => given.contains(wanted),
            Some(bundle) => bundle.iter().any(|action| given.contains(action)),
        }
    }

    pub fn read(text: &str) -> Self {
        let file: CatalogFile = serde_saphyr::from_str(text).expect("a catalog");
        let plans = file
            .plans
            .keys()
            .map(|name| (name.clone(), file.plan(name)))
            .collect();
        let mut types = BTreeMap::new();
        for entry in &file.types {
            for name in &entry.names {
                types.insert(name.clone(), file.resource_type(entry));
            }
        }
        Self {
            types,
            plans,
            seats: file.seats.keys().cloned().collect(),
            read_only_seats: file
                .seats
                .iter()
                .filter(|(_, seat)| seat.read_only)
                .map(|(name, _)| name.clone())
                .collect(),
        }
    }
}

#[derive(Deserialize)]
struct CatalogFile {
    #[serde(default)]
    implications: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    tool_level_actions: BTreeSet<String>,
    #[serde(default)]
    read_only_actions: BTreeSet<String>,
    #[serde(default)]
    no_view: Option<String>,
    #[serde(default)]
    seats: BTreeMap<String, SeatFile>,
    plans: BTreeMap<String, PlanFile>,
    types: Vec<TypeFile>,
}

#[derive(Deserialize)]
struct SeatFile {
    #[serde(default)]
    read_only: bool,
}

#[derive(Deserialize)]
struct PlanFile {
    extends: Option<String>,
    nested_teams: Option<bool>,
    object_access_requests: Option<bool>,
    #[serde(default)]
    without: Vec<String>,
    #[serde(default)]
    partitions: Vec<String>,
}

#[derive(Deserialize)]
struct TypeFile {
    names: Vec<String>,
    #[serde(default)]
    levels: Option<String>,
    actions: Vec<String>,
    #[serde(default)]
    permissions: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    always: BTreeSet<String>,
    #[serde(default)]
    derived: BTreeMap<String, DerivedFile>,
    #[serde(default)]
    same_as: BTreeMap<String, String>,
    reserved: Option<ReservedFile>,
    grantable: Option<bool>,
    #[serde(default)]
    seats: BTreeSet<String>,
    #[serde(default)]
    requires_payment_method: BTreeSet<String>,
    no_view: Option<String>,
    requestable: Option<bool>,
}

#[derive(Deserialize)]
struct DerivedFile {
    any_of: Vec<String>,
}

#[derive(Deserialize)]
struct ReservedFile {
    holders: BTreeSet<String>,
    #[serde(default)]
    except_partner_users: bool,
    actions: Option<Vec<String>>,
}

impl CatalogFile {
    fn plan(&self, name: &str) -> SuitePlan {
        let about = &self.plans[name];
        let mut plan = about
            .extends
            .as_ref()
            .map_or_else(SuitePlan::default, |base| self.plan(base));
        plan.nested_teams = about.nested_teams.unwrap_or(plan.nested_teams);
        plan.object_access_requests = about
            .object_access_requests
            .unwrap_or(plan.object_access_requests);
        plan.partitions.extend(about.partitions.iter().cloned());
        plan.without.extend(about.without.iter().cloned());
        for gone in &about.without {
            plan.partitions.remove(gone);
        }
        plan
    }

    fn resource_type(&self, entry: &TypeFile) -> SuiteType {
        let own = |listed: &BTreeSet<String>| {
            listed
                .iter()
                .filter(|action| entry.actions.contains(action))
                .cloned()
                .collect()
        };
        let no_view = entry.no_view.as_deref().or(self.no_view.as_deref());
        let reserved = entry.reserved.as_ref().map(|reserved| {
            let holds = |holder: &str| reserved.holders.contains(holder);
            let rule = SuiteReserved {
                account_owner: holds("account_owner"),
                super_admin: holds("super_admin"),
                partner_admin: holds("partner_admin"),
                explicit_grant: holds("explicit_grant"),
                except_partner_users: reserved.except_partner_users,
            };
            let covered = reserved.actions.as_ref().unwrap_or(&entry.actions);
            covered
                .iter()
                .map(|action| (action.clone(), rule.clone()))
                .collect()
        });
        let mut kind = SuiteType {
            actions: entry.actions.clone(),
            gives: BTreeMap::new(),
            flag: entry.levels.as_deref() == Some("flag"),
            grantable: entry.grantable.unwrap_or(true),
            permissions: entry.permissions.clone(),
            same_as: entry.same_as.clone(),
            always: entry.always.clone(),
            tool_level: own(&self.tool_level_actions),
            read_only: own(&self.read_only_actions),
            needs_payment: entry.requires_payment_method.clone(),
            derived: entry
                .derived
                .iter()
                .map(|(action, derived)| (action.clone(), derived.any_of.clone()))
                .collect(),
            reserved: reserved.unwrap_or_default(),
            seats: entry.seats.clone(),
            no_view: match no_view {
                Some("lock") => Presentation::Lock,
                _ => Presentation::BlockedPage,
            },
            requestable: entry.requestable.unwrap_or(true),
        };
        kind.gives = kind
            .grant_keys()
            .into_iter()
            .map(|key| (key.to_owned(), kind.close(&self.implications, key)))
            .collect();
        kind
    }
}
