//! The members of `offerDetail` that are used.

use super::{
    Coded, Document, Kind, Visibility,
    dates::date,
    document::Weight,
    html::push_plain,
    lenient::{List, Text, Unread, Whole, view},
    record::{RecordError, keyed},
};

view! {
    struct Wrapper {
        detail: Unread<'a> = "offerDetail",
    }

    struct Offer {
        reference: Text<'a> = "reference",
        language: Whole = "languageId",
        status: Coded = "status",
        category: Coded = "vacancyCategory",
        organisation: Coded = "organisation",
        created: Text<'a> = "creationDate",
        modified: Text<'a> = "modificationDate",
        job: JobDescription<'a> = "jobDescription",
        criteria: Criteria<'a> = "criteria",
        location: Location<'a> = "location",
    }

    struct JobDescription {
        title: Text<'a> = "title",
        description1: Text<'a> = "description1",
        description1_html: Unread<'a> = "description1HTML",
        description2: Text<'a> = "description2",
        description2_html: Unread<'a> = "description2HTML",
        contract_type: Coded = "contractType",
        professional_category: Coded = "professionalCategory",
        salary_range: Coded = "salaryRange",
        job_time: Coded = "jobTime",
        country: Coded = "country",
        primary_profile: Coded = "primaryProfile",
        secondary_profiles: List<Coded> = "secondaryProfiles",
    }

    struct Criteria {
        experience_level: Coded = "experienceLevel",
        education_level: Coded = "educationLevel",
        diploma: Coded = "diploma",
        skills: List<Coded> = "skills",
        specialisations: List<Coded> = "specialisations",
        free1: Text<'a> = "freeCriteria1",
        free1_html: Unread<'a> = "freeCriteria1HTML",
        free2: Text<'a> = "freeCriteria2",
        free2_html: Unread<'a> = "freeCriteria2HTML",
    }

    struct Location {
        address: Text<'a> = "address",
        geographical_area: Coded = "geographicalArea",
        country: Coded = "country",
        region: Coded = "region",
        department: Coded = "department",
    }
}

/// Reads a vacancy; `live` holds the status ids of those that are searchable.
pub(super) fn read(json: &str, live: &[String]) -> Result<Document, RecordError> {
    let (detail, offer) = unwrap(json).map_err(|_| RecordError::NotJson)?;
    let mut document = keyed(Kind::Vacancy, &offer.reference)?;
    document.raw = detail.to_owned();
    document.language = offer.language.0;
    document.created = offer.created.owned().and_then(date);
    document.modified = offer.modified.owned().and_then(date);
    document.visibility = match &offer.status.id {
        Some(id) if live.contains(id) => Visibility::Live,
        Some(id) if !id.trim().is_empty() => Visibility::NotLive,
        _ => Visibility::Unknown,
    };
    document.title = offer.job.title.owned().unwrap_or_default();
    let title = document.title.clone();
    document.words(Weight::A, &title);
    document.status = offer.status.some();
    document.code("vacancyCategory", offer.category);
    document.code("organisation", offer.organisation);
    let JobDescription { secondary_profiles, .. } = offer.job;
    for (field, value) in [
        ("jobDescription.contractType", offer.job.contract_type),
        ("jobDescription.professionalCategory", offer.job.professional_category),
        ("jobDescription.salaryRange", offer.job.salary_range),
        ("jobDescription.jobTime", offer.job.job_time),
        ("jobDescription.country", offer.job.country),
        ("jobDescription.primaryProfile", offer.job.primary_profile),
        ("criteria.experienceLevel", offer.criteria.experience_level),
        ("criteria.educationLevel", offer.criteria.education_level),
        ("criteria.diploma", offer.criteria.diploma),
        ("location.geographicalArea", offer.location.geographical_area),
        ("location.country", offer.location.country),
        ("location.region", offer.location.region),
        ("location.department", offer.location.department),
    ] {
        document.code(field, value);
    }
    for (field, values) in [
        ("jobDescription.secondaryProfiles", secondary_profiles),
        ("criteria.skills", offer.criteria.skills),
        ("criteria.specialisations", offer.criteria.specialisations),
    ] {
        values.0.into_iter().for_each(|value| document.code(field, value));
    }
    for (plain, html) in [
        (&offer.job.description1, &offer.job.description1_html),
        (&offer.job.description2, &offer.job.description2_html),
        (&offer.criteria.free1, &offer.criteria.free1_html),
        (&offer.criteria.free2, &offer.criteria.free2_html),
        (&offer.location.address, &Unread::default()),
    ] {
        describe(&mut document, plain, html);
    }
    Ok(document)
}

/// The detail's text, and what is read of it.
fn unwrap(json: &str) -> serde_json::Result<(&str, Offer<'_>)> {
    // Reading the inside of a wrapper that has no other member spares going over the record twice. Where there is
    // another member the inside is no JSON value, and the slower way is taken.
    if let Some(detail) = sole_member(json)
        && let Ok(offer) = serde_json::from_str(detail)
    {
        return Ok((detail, offer));
    }
    let wrapper: Wrapper<'_> = serde_json::from_str(json)?;
    let detail = wrapper.detail.0.filter(|detail| *detail != "null").unwrap_or(json);
    Ok((detail, serde_json::from_str(detail)?))
}

/// What stands between `{"offerDetail":` and the last `}`, when the text has that form.
fn sole_member(json: &str) -> Option<&str> {
    let inside = json.trim().strip_prefix('{')?.strip_suffix('}')?;
    let value = inside.trim_start().strip_prefix("\"offerDetail\"")?.trim_start().strip_prefix(':')?;
    Some(value.trim()).filter(|value| value.starts_with('{'))
}

/// The plain form, or else the text of the HTML form.
fn describe(document: &mut Document, plain: &Text<'_>, html: &Unread<'_>) {
    if let Some(text) = plain.filled() {
        document.words(Weight::C, &text);
    } else if let Some(html) = html.text() {
        let mut text = String::with_capacity(html.len());
        push_plain(&html, &mut text);
        document.words(Weight::C, &text);
    }
}
