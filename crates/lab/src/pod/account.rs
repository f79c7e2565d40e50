//! Users and groups by name, as a container's own `/etc/passwd` and `/etc/group` have them.
//!
//! Source: OCI image specification, `config.User`; moby `user.GetExecUser`; passwd(5), group(5).

use super::launch::Identity;

/// As whom a process runs, in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    /// Its user.
    pub user: u32,
    /// Its group.
    pub group: u32,
    /// Its other groups.
    pub groups: Vec<u32>,
    /// Its home directory.
    pub home: String,
}

/// Finds out as whom `identity` runs where `passwd` and `group` are the texts of those files.
///
/// # Errors
/// The name of a user or group that is in neither file.
pub(super) fn resolve(identity: &Identity, passwd: &str, group: &str) -> Result<Account, String> {
    let (user, own_group) = match identity.user.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (identity.user.as_str(), None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let number = user.parse::<u32>().ok();
    let entry = passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let uid: u32 = fields.get(2)?.parse().ok()?;
        let is_it = fields.first() == Some(&user) || number == Some(uid);
        is_it.then(|| (fields[0], uid, fields.get(3).and_then(|gid| gid.parse().ok()), fields))
    });
    let (name, uid, gid, home) = match (entry, number) {
        (Some((name, uid, gid, fields)), _) => (name, uid, gid, fields.get(5).copied()),
        (None, Some(number)) => ("", number, None, None),
        (None, None) => {
            return Err(format!("unable to find user {user}: no matching entries in passwd file"));
        }
    };
    let gid = match own_group {
        None => gid.unwrap_or(0),
        Some(own) => group_number(own, group).ok_or_else(|| {
            format!("unable to find group {own}: no matching entries in group file")
        })?,
    };
    let mut groups = Vec::new();
    if identity.memberships && !name.is_empty() {
        groups.extend(member_of(name, group));
    }
    groups.extend(identity.groups.iter().copied());
    let home = home.filter(|home| !home.is_empty()).unwrap_or("/").to_owned();
    Ok(Account { user: uid, group: identity.group.unwrap_or(gid), groups, home })
}

fn group_number(wanted: &str, file: &str) -> Option<u32> {
    let named = file.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == wanted).then(|| fields.nth(1)?.parse().ok()).flatten()
    });
    named.or_else(|| wanted.parse().ok())
}

fn member_of<'a>(user: &'a str, file: &'a str) -> impl Iterator<Item = u32> + 'a {
    file.lines().filter_map(move |line| {
        let mut fields = line.split(':');
        let gid = fields.nth(2)?.parse().ok()?;
        fields.next()?.split(',').any(|member| member == user).then_some(gid)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_looked_up_in_the_containers_files() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nweb:x:101:102:www:/srv:/bin/false\nbroken\n";
        let group = "root:x:0:\nwww:x:102:\nlogs:x:7:web,other\nbroken\n";
        let cases = [
            ("", None, "0 0 [] /root"),
            ("root", None, "0 0 [] /root"),
            ("web", None, "101 102 [7] /srv"),
            ("101", None, "101 102 [7] /srv"),
            ("101", Some(9), "101 9 [7] /srv"),
            ("web:logs", None, "101 7 [7] /srv"),
            ("web:55", None, "101 55 [7] /srv"),
            ("5000", None, "5000 0 [] /"),
            ("5000:6000", None, "5000 6000 [] /"),
            ("nobody", None, "unable to find user nobody: no matching entries in passwd file"),
            ("web:none", None, "unable to find group none: no matching entries in group file"),
        ];
        for (user, group_number, expected) in cases {
            let identity = Identity {
                user: user.to_owned(),
                group: group_number,
                memberships: true,
                ..Identity::default()
            };
            let found = match resolve(&identity, passwd, group) {
                Ok(it) => format!("{} {} {:?} {}", it.user, it.group, it.groups, it.home),
                Err(why) => why,
            };
            assert_eq!(found, expected, "{user}");
        }
    }
}
