//! Generated vacancies: the full `offerDetail`.
//!
//! Members, spellings and the two ways of saying "no value" are those of real
//! records: `contractLength` here but `contractLenght` in candidates, `EEO` in
//! capitals, dates without a zone.

use serde_json::{Value, json};

use super::codes::{self, ENGLISH, FRENCH};
use super::fields::{custom_fields, perhaps};
use super::random::Random;
use super::trades::{PROFILES, SKILLS, TRADES, Trade};
use super::words::{self, City};
use crate::clock::vacancy_date;
use crate::tenant::Row;

/// What is drawn first, so that a title or a medium is known without making the
/// whole record.
struct Basics {
    random: Random,
    lcid: u32,
    trade: &'static Trade,
    city: &'static City,
    internet: bool,
    intranet: bool,
    title: String,
}

fn basics(seed: u64, index: u64) -> Basics {
    let mut random = Random::of(seed, "vacancy", index);
    let lcid = if random.percent(70) { FRENCH } else { ENGLISH };
    let trade = random.pick(TRADES);
    let city = random.pick(words::CITIES);
    let internet = random.percent(90);
    let intranet = random.percent(40);
    let trade_title = if lcid == FRENCH { trade.fr } else { trade.en };
    let title = match random.below(4) {
        0 => format!("{trade_title} - {}", city.0),
        1 => trade_title.to_uppercase(),
        _ => trade_title.to_owned(),
    };
    Basics { random, lcid, trade, city, internet, intranet, title }
}

/// The title before any change.
pub(crate) fn title(seed: u64, index: u64) -> String {
    basics(seed, index).title
}

/// Where the vacancy is published, in the codes of referential `publicationmedia`.
pub(crate) fn media(seed: u64, index: u64) -> Vec<&'static str> {
    let basics = basics(seed, index);
    let mut media = Vec::new();
    if basics.internet {
        media.push(codes::MEDIA[0].id);
    }
    if basics.intranet {
        media.push(codes::MEDIA[1].id);
    }
    media
}

/// The inside of `offerDetail`, as the row stands now.
pub(crate) fn detail(seed: u64, index: u64, row: &Row, title: Option<&str>) -> Value {
    let Basics { mut random, lcid, trade, city, internet, intranet, .. } = basics(seed, index);
    let random = &mut random;
    let created = vacancy_date(row.created);
    let french = lcid == FRENCH;
    let task = if french { trade.task_fr } else { trade.task_en };
    let (pitches, wishes) =
        if french { (words::PITCH_FR, words::PROFILE_FR) } else { (words::PITCH_EN, words::PROFILE_EN) };
    let mut lines: Vec<&str> = vec![task];
    lines.extend(random.some(pitches, 3));
    let mut description1 = lines.join("\r\n");
    if row.version > 1 {
        description1.push_str(&format!("\r\nVersion {}.", row.version));
    }
    let description2 =
        random.percent(80).then(|| random.some(wishes, 2).into_iter().copied().collect::<Vec<_>>().join("\r\n"));
    let criteria = random.percent(30).then(|| "Permis B & mobilité".to_owned());
    let contract = random.pick(&codes::CONTRACTS[..4]);
    let lasting = contract.id != codes::CONTRACTS[0].id;
    let located = random.percent(60);
    let skills: Vec<Value> = trade.skills.iter().map(|&place| SKILLS[place].coded(lcid)).collect();
    let mut custom = || custom_fields(random, true, lcid, &created);
    let (general, block1, block2, block3, block4) = (custom(), custom(), custom(), custom(), custom());
    let (job_custom, criteria_custom, location_custom, requesting_custom) = (custom(), custom(), custom(), custom());
    json!({
        "reference": &*row.key,
        "languageId": lcid,
        "status": crate::tenant::coded_status(&row.status, lcid),
        "vacancyCategory": codes::VACANCY_CATEGORIES[usize::from(random.percent(5))].coded(lcid),
        "vacancyView": { "id": "vacancy_view_standard", "label": "Offre standard" },
        "candidateView": { "id": "candidate_view_standard", "label": "Formulaire standard" },
        "organisation": random.pick(codes::ORGANISATIONS).coded(lcid),
        "creationDate": created,
        "modificationDate": vacancy_date(row.updated),
        "publishedOnInternet": internet,
        "publishedOnIntranet": intranet,
        "candidateRedirectionUrl": if random.percent(10) {
            json!("https://careers.example.com/apply")
        } else {
            Value::Null
        },
        "coverUrl": "https://careers.example.com/cover.png",
        "languages": spoken(random, lcid),
        "jobDescription": {
            "title": title,
            "description1": description1,
            "description1HTML": words::html(&description1),
            "description2": description2,
            "description2HTML": description2.as_deref().map(words::html),
            "contractType": contract.coded(lcid),
            "contractLength": lasting.then_some(if french { "6 mois" } else { "6 months" }),
            "professionalCategory": perhaps(random, codes::PROFESSIONAL_CATEGORIES, lcid),
            "salaryRange": perhaps(random, codes::SALARIES, lcid),
            "jobTime": perhaps(random, codes::JOB_TIMES, lcid),
            "country": codes::COUNTRIES[0].coded(lcid),
            "primaryProfile": PROFILES[trade.profile].coded(lcid),
            "secondaryProfiles": if random.percent(20) {
                json!([random.pick(PROFILES).coded(lcid)])
            } else {
                json!([])
            },
            "jobDescriptionCustomFields": job_custom,
        },
        "criteria": {
            "experienceLevel": perhaps(random, codes::EXPERIENCE_LEVELS, lcid),
            "educationLevel": perhaps(random, codes::EDUCATION_LEVELS, lcid),
            "diploma": perhaps(random, codes::DIPLOMAS, lcid),
            "skills": skills,
            "specialisations": if random.percent(30) {
                json!([random.pick(codes::SPECIALISATIONS).coded(lcid)])
            } else {
                json!([])
            },
            "freeCriteria1HTML": criteria.as_deref().map(words::html),
            "freeCriteria1": criteria,
            "freeCriteria2": null,
            "freeCriteria2HTML": null,
            "criteriaCustomFields": criteria_custom,
        },
        "location": {
            "address": located.then(|| {
                format!("{} {}, {} {}", 1 + random.below(90), random.pick(words::STREETS), city.1, city.0)
            }),
            "latitude": located.then_some(city.4),
            "longitude": located.then_some(city.5),
            "geographicalArea": codes::AREAS[0].coded(lcid),
            "country": codes::COUNTRIES[0].coded(lcid),
            "region": codes::REGIONS[city.2].coded(lcid),
            "department": codes::DEPARTMENTS[city.3].coded(lcid),
            "locationCustomFields": location_custom,
        },
        "requestingParty": {
            "lineManager": line_manager(random),
            "beginningDate": random.percent(30).then(|| vacancy_date(row.created)),
            "numberOfVacancies": random.percent(40).then(|| 1 + random.below(4)),
            "recruitingReason": null,
            "commentForAgency": null,
            "EEO": null,
            "requestingPartyCustomFields": requesting_custom,
        },
        "referral": { "bonusAmount": null, "currency": null, "bonusType": null },
        "generalInformationCustomFields": general,
        "customBlock1CustomFields": block1,
        "customBlock2CustomFields": block2,
        "customBlock3CustomFields": block3,
        "customBlock4CustomFields": block4,
    })
}

fn spoken(random: &mut Random, lcid: u32) -> Value {
    let count = if random.percent(50) { 2 } else { 0 };
    let languages: Vec<Value> = random
        .some(codes::LANGUAGES, count)
        .into_iter()
        .map(|language| {
            json!({
                "language": language.coded(lcid),
                "languageLevel": random.pick(codes::LANGUAGE_LEVELS).coded(lcid),
            })
        })
        .collect();
    Value::Array(languages)
}

/// Without a manager the id is null but the label an empty string, as seen.
fn line_manager(random: &mut Random) -> Value {
    if random.percent(40) {
        return json!({ "id": null, "label": "", "email": null, "uri": null });
    }
    let (first, last) = (random.pick(words::FIRST_NAMES), random.pick(words::LAST_NAMES));
    let id = random.guid();
    json!({
        "id": id,
        "label": format!("{first} {last}"),
        "email": format!("manager{}@example.org", random.below(500)),
        "uri": null,
    })
}
