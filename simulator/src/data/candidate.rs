//! Generated candidates: the full `applicantdetail` and the files that go with it.

use serde_json::{Value, json};

use super::codes::{self, ENGLISH, FRENCH};
use super::fields::{custom_fields, null_pair, perhaps};
use super::random::Random;
use super::trades::{PROFILES, SKILLS, TRADES, Trade};
use super::words::{self, City};
use super::{keys, pdf};
use crate::clock::candidate_date;
use crate::tenant::Row;

/// What is drawn first, and shared by the record and the CV.
pub(crate) struct Basics {
    random: Random,
    lcid: u32,
    pub(crate) first_name: &'static str,
    pub(crate) last_name: &'static str,
    pub(crate) email: String,
    trade: &'static Trade,
    city: &'static City,
    pub(crate) title: Option<String>,
    pub(crate) with_resume: bool,
    with_letter: bool,
}

impl Basics {
    /// What the CV says of every job.
    pub(crate) fn task(&self) -> &'static str {
        if self.lcid == FRENCH { self.trade.task_fr } else { self.trade.task_en }
    }
}

pub(crate) fn basics(seed: u64, index: u64) -> Basics {
    let mut random = Random::of(seed, "candidate", index);
    let lcid = if random.percent(75) { FRENCH } else { ENGLISH };
    let first_name = random.pick(words::FIRST_NAMES);
    let last_name = random.pick(words::LAST_NAMES);
    let host = random.pick(&["example.com", "example.org", "example.net", "mail.invalid"]);
    let plain = |name: &str| -> String {
        name.chars().filter(char::is_ascii_alphabetic).map(|c| c.to_ascii_lowercase()).collect()
    };
    let email = format!("{}.{}{}@{host}", plain(first_name), plain(last_name), index + 1);
    let trade = random.pick(TRADES);
    let city = random.pick(words::CITIES);
    let title =
        random.percent(80).then(|| if lcid == FRENCH { trade.fr.replace(" H/F", "") } else { trade.en.to_owned() });
    let with_resume = random.percent(90);
    let with_letter = random.percent(15);
    Basics { random, lcid, first_name, last_name, email, trade, city, title, with_resume, with_letter }
}

/// The id of the CV, which changes whenever the CV is replaced.
pub(crate) fn resume_id(seed: u64, index: u64, replaced: u32) -> String {
    let mut random = Random::of(seed, "resume", index);
    for _ in 0..replaced {
        random.guid();
    }
    random.guid().to_lowercase()
}

/// The whole of `applicantdetail`, which is not wrapped. With `resume_only` the
/// attachments are the CV alone.
pub(crate) fn detail(seed: u64, index: u64, row: &Row, title: Option<&str>, resume_only: bool) -> Value {
    let basics = basics(seed, index);
    let attachments: Vec<Value> = if row.anonymised {
        Vec::new()
    } else {
        files(seed, index, row, &basics)
            .into_iter()
            .filter(|file| file.is_resume || !resume_only)
            .map(|file| {
                json!({
                    "id": file.id,
                    "isResume": file.is_resume,
                    "mimeType": file.mime_type,
                    "filename": file.filename,
                })
            })
            .collect()
    };
    let mut random = basics.random.clone();
    let applications = applications(&mut random, row);
    json!({
        "isEmployee": random.percent(8),
        "isInProgress": !applications.is_empty(),
        "applications": applications,
        "attachments": attachments,
        "candidateDetail": person(basics, row, title),
    })
}

fn applications(random: &mut Random, row: &Row) -> Vec<Value> {
    let mut references: Vec<Value> = Vec::new();
    if random.percent(15) {
        // A spontaneous application names no vacancy.
        references.push(Value::Null);
    }
    references.extend(row.applications.iter().map(|key| Value::from(&**key)));
    references.into_iter().map(|reference| json!({ "vacancyReference": reference })).collect()
}

fn person(basics: Basics, row: &Row, title: Option<&str>) -> Value {
    let Basics { mut random, lcid, first_name, last_name, email, trade, city, .. } = basics;
    let random = &mut random;
    let gone = row.anonymised;
    let created = candidate_date(row.created);
    let experiences = if gone { Vec::new() } else { experiences(random, lcid, trade, &created) };
    let educations = if gone { Vec::new() } else { educations(random, lcid, &created) };
    let skills: Vec<Value> =
        if gone { Vec::new() } else { trade.skills.iter().map(|&place| SKILLS[place].coded(lcid)).collect() };
    let shown = |text: String| if gone { Value::Null } else { Value::String(text) };
    let mut custom = || custom_fields(random, false, lcid, &created);
    let (personal, preferences, global, additional, recruiter) = (custom(), custom(), custom(), custom(), custom());
    let (block1, block2, block3, block4) = (custom(), custom(), custom(), custom());
    json!({
        "id": &*row.key,
        "firstName": shown(first_name.to_owned()),
        "lastName": shown(last_name.to_owned()),
        "middleName": null,
        "email": shown(email),
        "title": title,
        "phoneNumber": if gone || random.percent(30) {
            Value::Null
        } else {
            json!(format!("+33 6 39 98 {:02} {:02}", random.below(100), random.below(100)))
        },
        "civility": if gone { null_pair() } else { random.pick(codes::CIVILITIES).coded(lcid) },
        "sex": null,
        "agencyUser": null,
        "status": random.pick(codes::APPLICANT_STATUSES).coded(lcid),
        "isAnonymized": gone,
        "creationDate": created,
        "languages": if gone { json!([]) } else { json!(
            random.some(codes::LANGUAGES, 2).into_iter().map(|language| json!({
                "language": language.coded(lcid),
                "languageLevel": random.pick(codes::LANGUAGE_LEVELS).coded(lcid),
            })).collect::<Vec<_>>()
        ) },
        "consents": [],
        "personalInformation": {
            "address": if gone || random.percent(40) { Value::Null } else {
                json!(format!("{} {}", 1 + random.below(120), random.pick(words::STREETS)))
            },
            "city": shown(city.0.to_owned()),
            "postalCode": shown(city.1.to_owned()),
            "birthDate": null,
            "otherPhoneNumber": null,
            "professionalEmail": null,
            "residentCountry": if random.percent(50) { Value::Null } else {
                codes::COUNTRIES[0].coded(lcid)
            },
            "nationalities": [],
            "personalInformationCustomFields": personal,
        },
        "positionSought": {
            "primaryProfile": if random.percent(30) { null_pair() } else {
                PROFILES[trade.profile].coded(lcid)
            },
            "secondaryProfiles": [],
            "contractType": perhaps(random, codes::CONTRACTS, lcid),
            "contractLenght": null,
            "jobTime": perhaps(random, codes::JOB_TIMES, lcid),
            "salaryExpectations": random.percent(20).then_some("38 k€"),
            "mobilityDelay": null,
            "trainingStartDate": null,
            "trainingEndDate": null,
            "dateOfAvailability": created,
            "totalMobility": random.percent(10),
            "mobility": {
                "geographicalAreas": [],
                "countries": [codes::COUNTRIES[0].coded(lcid)],
                "regions": [codes::REGIONS[city.2].coded(lcid)],
                "departments": [],
                "zipCodes": [],
            },
            "jobPreferencesCustomFields": preferences,
        },
        "globalExperience": {
            "globalExperienceLevel": perhaps(random, codes::EXPERIENCE_LEVELS, lcid),
            "globalExperienceLevelCustomFields": global,
        },
        "experiences": experiences,
        "educations": educations,
        "additionalInformation": {
            "skills": skills,
            "additionalInformationCustomFields": additional,
        },
        "recruiterData": {
            "recommenderName": null,
            "recommenderEmail": null,
            "comment": null,
            "recruiterDataCustomFields": recruiter,
        },
        "referral": { "referralStatus": null },
        "customBlock1CustomFields": block1,
        "customBlock2CustomFields": block2,
        "customBlock3CustomFields": block3,
        "customBlock4CustomFields": block4,
    })
}

fn experiences(random: &mut Random, lcid: u32, trade: &Trade, date: &str) -> Vec<Value> {
    (0..random.below(4))
        .map(|_| {
            // A real record had experiences with nothing in them at all.
            let empty = random.percent(10);
            let function = if lcid == FRENCH { trade.fr } else { trade.en };
            json!({
                "experience": {
                    "company": (!empty).then(|| *random.pick(words::COMPANIES)),
                    "function": (!empty).then_some(function),
                    "duration": (!empty).then(|| format!("{} ans", 1 + random.below(8))),
                    "experienceLevel": if empty { Value::Null } else {
                        perhaps(random, codes::EXPERIENCE_LEVELS, lcid)
                    },
                    "typeOfContract": if empty { Value::Null } else {
                        perhaps(random, codes::CONTRACTS, lcid)
                    },
                    "profile": if empty { Value::Null } else {
                        PROFILES[trade.profile].coded(lcid)
                    },
                },
                "experienceCustomFields": custom_fields(random, false, lcid, date),
            })
        })
        .collect()
}

fn educations(random: &mut Random, lcid: u32, date: &str) -> Vec<Value> {
    (0..random.below(3))
        .map(|_| {
            json!({
                "school": random.percent(80).then(|| *random.pick(words::SCHOOLS)),
                "schoolCity": null,
                "speciality": null,
                "yearOfGraduation": random.percent(70).then(|| 1995 + random.below(28)),
                "diploma": random.pick(codes::DIPLOMAS).coded(lcid),
                "educationLevel": perhaps(random, codes::EDUCATION_LEVELS, lcid),
                "educationCustomFields": custom_fields(random, false, lcid, date),
            })
        })
        .collect()
}

/// One attachment with its bytes.
pub(crate) struct File {
    pub(crate) id: String,
    pub(crate) is_resume: bool,
    mime_type: &'static str,
    filename: String,
    pub(crate) bytes: Vec<u8>,
}

/// The files of a candidate who is not anonymised: mostly a CV, now and then a
/// covering letter. A replaced CV appears even where there was none before.
pub(crate) fn files(seed: u64, index: u64, row: &Row, basics: &Basics) -> Vec<File> {
    let mut files = Vec::new();
    if basics.with_resume || row.resume > 0 {
        files.push(File {
            id: resume_id(seed, index, row.resume),
            is_resume: true,
            mime_type: "application/pdf",
            filename: format!("CV {} {}.pdf", basics.first_name, basics.last_name),
            bytes: resume(seed, index, row, basics),
        });
    }
    if basics.with_letter {
        let letter = format!(
            "Madame, Monsieur,\r\n\r\nVotre offre a retenu toute mon attention.\r\n\r\n{} {}\r\n",
            basics.first_name, basics.last_name
        );
        files.push(File {
            id: Random::of(seed, "letter", index).guid().to_lowercase(),
            is_resume: false,
            mime_type: "text/plain",
            filename: "lettre de motivation.txt".to_owned(),
            bytes: letter.into_bytes(),
        });
    }
    files
}

fn resume(seed: u64, index: u64, row: &Row, basics: &Basics) -> Vec<u8> {
    let mut random = Random::of(seed, "cv text", index.wrapping_add(u64::from(row.resume) << 40));
    let name = format!("{} {}", basics.first_name, basics.last_name);
    let french = basics.lcid == FRENCH;
    let mut lines = vec![
        format!("# {name}"),
        format!("{} - {} {}", basics.email, basics.city.1, basics.city.0),
        format!("{} - CV {}", keys::candidate_id(usize::try_from(index).unwrap_or(0)), row.resume + 1),
        String::new(),
        format!("# {}", if french { basics.trade.fr } else { basics.trade.en }),
        String::new(),
        format!("# {}", if french { "Expérience" } else { "Experience" }),
    ];
    for job in 0..4 + random.below(5) {
        let from = 2024 - 4 * job - random.below(2);
        lines.push(format!("{from} - {} : {}", from + 3, random.pick(words::COMPANIES)));
        lines.push(format!("  {}.", basics.task()));
        lines.push(format!("  {}", random.pick(if french { words::PITCH_FR } else { words::PITCH_EN })));
    }
    lines.push(format!("# {}", if french { "Compétences" } else { "Skills" }));
    lines.extend(basics.trade.skills.iter().map(|&place| format!("- {}", SKILLS[place].label(basics.lcid))));
    lines.push(format!("# {}", if french { "Formation" } else { "Education" }));
    lines.push(format!("{}, {}", random.pick(codes::DIPLOMAS).label(basics.lcid), random.pick(words::SCHOOLS)));
    pdf::pdf(&format!("CV {name}"), &lines)
}
