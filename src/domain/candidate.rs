//! The members of `applicantdetail` that are used.

use super::{
    Anonymisation, Coded, Document, Kind, Listed,
    attachment::essence,
    dates::date,
    document::Weight,
    lenient::{Flag, List, Text, view},
    record::{RecordError, keyed, usable_key},
};

view! {
    struct Wrapper {
        detail: Option<Candidate<'a>> = "candidateDetail",
        attachments: List<File<'a>> = "attachments",
    }

    struct File {
        id: Text<'a> = "id",
        resume: Flag = "isResume",
        mime_type: Text<'a> = "mimeType",
        name: Text<'a> = "filename",
    }

    struct Candidate {
        id: Text<'a> = "id",
        first_name: Text<'a> = "firstName",
        middle_name: Text<'a> = "middleName",
        last_name: Text<'a> = "lastName",
        email: Text<'a> = "email",
        title: Text<'a> = "title",
        status: Coded = "status",
        anonymisation: Anonymisation = "isAnonymized",
        created: Text<'a> = "creationDate",
        modified: Text<'a> = "modificationDate",
        personal: Personal<'a> = "personalInformation",
        sought: PositionSought<'a> = "positionSought",
        global: GlobalExperience<'a> = "globalExperience",
        experiences: List<ExperienceItem<'a>> = "experiences",
        educations: List<Education<'a>> = "educations",
        additional: Additional<'a> = "additionalInformation",
    }

    struct Personal {
        city: Text<'a> = "city",
        resident_country: Coded = "residentCountry",
    }

    struct PositionSought {
        primary_profile: Coded = "primaryProfile",
        secondary_profiles: List<Coded> = "secondaryProfiles",
        contract_type: Coded = "contractType",
        job_time: Coded = "jobTime",
    }

    struct GlobalExperience {
        level: Coded = "globalExperienceLevel",
    }

    struct ExperienceItem {
        experience: Experience<'a> = "experience",
    }

    struct Experience {
        company: Text<'a> = "company",
        function: Text<'a> = "function",
        level: Coded = "experienceLevel",
        contract: Coded = "typeOfContract",
        profile: Coded = "profile",
    }

    struct Education {
        school: Text<'a> = "school",
        city: Text<'a> = "schoolCity",
        speciality: Text<'a> = "speciality",
        diploma: Coded = "diploma",
        level: Coded = "educationLevel",
    }

    struct Additional {
        skills: List<Coded> = "skills",
    }
}

/// Reads a candidate.
pub(super) fn read(json: &str) -> Result<Document, RecordError> {
    let wrapper: Wrapper<'_> = serde_json::from_str(json).map_err(|_| RecordError::NotJson)?;
    let candidate = match wrapper.detail {
        Some(candidate) => candidate,
        None => serde_json::from_str(json).map_err(|_| RecordError::NotJson)?,
    };
    let mut document = keyed(Kind::Candidate, &candidate.id)?;
    document.raw = json.to_owned();
    document.created = candidate.created.owned().and_then(date);
    document.modified = candidate.modified.owned().and_then(date);
    document.anonymisation = candidate.anonymisation;
    document.email = candidate.email.owned();
    document.listed = wrapper.attachments.0.into_iter().filter_map(listed).collect();
    document.title = candidate.title.owned().unwrap_or_default();
    for text in [&candidate.title, &candidate.first_name, &candidate.middle_name, &candidate.last_name] {
        say(&mut document, Weight::A, text);
    }
    say(&mut document, Weight::B, &candidate.personal.city);
    document.status = candidate.status.some();
    let sought = candidate.sought;
    for (field, value) in [
        ("personalInformation.residentCountry", candidate.personal.resident_country),
        ("positionSought.primaryProfile", sought.primary_profile),
        ("positionSought.contractType", sought.contract_type),
        ("positionSought.jobTime", sought.job_time),
        ("globalExperience.globalExperienceLevel", candidate.global.level),
    ] {
        document.code(field, value);
    }
    for (field, values) in [
        ("positionSought.secondaryProfiles", sought.secondary_profiles),
        ("additionalInformation.skills", candidate.additional.skills),
    ] {
        values.0.into_iter().for_each(|value| document.code(field, value));
    }
    for ExperienceItem { experience, .. } in candidate.experiences.0 {
        say(&mut document, Weight::C, &experience.function);
        say(&mut document, Weight::C, &experience.company);
        document.code("experiences.experienceLevel", experience.level);
        document.code("experiences.typeOfContract", experience.contract);
        document.code("experiences.profile", experience.profile);
    }
    for education in candidate.educations.0 {
        for text in [&education.speciality, &education.school, &education.city] {
            say(&mut document, Weight::C, text);
        }
        document.code("educations.diploma", education.diploma);
        document.code("educations.educationLevel", education.level);
    }
    Ok(document)
}

/// A file that the record marks as a resume.
fn listed(file: File<'_>) -> Option<Listed> {
    file.resume.0.filter(|resume| *resume)?;
    let id = file.id.0.as_deref().filter(|id| usable_key(id)).map(str::to_owned);
    let mime_type = file.mime_type.owned().as_deref().map(essence).unwrap_or_default();
    Some(Listed { id, name: file.name.owned().unwrap_or_default(), mime_type })
}

fn say(document: &mut Document, weight: Weight, text: &Text<'_>) {
    if let Some(text) = text.filled() {
        document.words(weight, &text);
    }
}
