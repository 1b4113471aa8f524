//! The referentials: what coded members are taken from, with French and English
//! labels. The ids follow families seen in real records, among them two with a
//! trailing space and some that a customer typed.

use serde_json::{Value, json};

/// One coded value: the client code and its two labels.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Code {
    pub(crate) id: &'static str,
    pub(crate) fr: &'static str,
    pub(crate) en: &'static str,
}

/// Windows language id of French (France), the first language of the tenant.
pub(crate) const FRENCH: u32 = 1036;
/// Windows language id of English (United States).
pub(crate) const ENGLISH: u32 = 1033;

impl Code {
    pub(crate) fn label(&self, lcid: u32) -> &'static str {
        if lcid == ENGLISH { self.en } else { self.fr }
    }

    /// `{id, label}` as records carry it.
    pub(crate) fn coded(&self, lcid: u32) -> Value {
        json!({ "id": self.id, "label": self.label(lcid) })
    }
}

const fn code(id: &'static str, fr: &'static str, en: &'static str) -> Code {
    Code { id, fr, en }
}

/// The list behind a referential's name, or nothing for an unknown one.
pub(crate) fn category(name: &str) -> Option<&'static [Code]> {
    Some(match name {
        "countries" => COUNTRIES,
        "regions" => REGIONS,
        "departments" => DEPARTMENTS,
        "geographicalareas" => AREAS,
        "contracttypes" => CONTRACTS,
        "jobtimes" => JOB_TIMES,
        "salaryranges" => SALARIES,
        "professionalcategories" => PROFESSIONAL_CATEGORIES,
        "experiencelevels" => EXPERIENCE_LEVELS,
        "educationlevels" => EDUCATION_LEVELS,
        "diplomas" => DIPLOMAS,
        "specialisations" => SPECIALISATIONS,
        "languages" => LANGUAGES,
        "languagelevels" => LANGUAGE_LEVELS,
        "civilities" => CIVILITIES,
        "applicantstatuses" => APPLICANT_STATUSES,
        "vacancycategories" => VACANCY_CATEGORIES,
        "organisations" => ORGANISATIONS,
        "publicationmedia" => MEDIA,
        "applicationevents" => APPLICATION_EVENTS,
        "customcodetables" => CUSTOM_TABLE,
        "profiles" => super::trades::PROFILES,
        "skills" => super::trades::SKILLS,
        "vacancystatuses" => VACANCY_STATUSES,
        _ => return None,
    })
}

pub(crate) const VACANCY_STATUSES: &[Code] = &[
    code("_TS_CO_OfferStatus_Brouillon", "Brouillon", "Draft"),
    code("_TS_CO_OfferStatus_Valide", "Validée", "Validated"),
    code("_TS_CO_OfferStatus_EnAttentePublication", "En attente de publication", "Awaiting publication"),
    code("_TS_CO_OfferStatus_Diffuse", "Diffusée", "Published"),
    code("_TS_CO_OfferStatus_Suspendue", "Suspendue", "Suspended"),
    code("_TS_CO_OfferStatus_Finalise", "Finalisée", "Finalised"),
    code("_TS_CO_OfferStatus_Archive", "Archivée", "Archived"),
];

pub(crate) const COUNTRIES: &[Code] = &[
    code("_TS_CO_Country_France", "France", "France"),
    code("_TS_CO_Country_Belgique", "Belgique", "Belgium"),
    code("_TS_CO_Country_Suisse", "Suisse", "Switzerland"),
    code("_TS_CO_Country_RoyaumeUni", "Royaume-Uni", "United Kingdom"),
    code("_TS_CO_Country_Allemagne", "Allemagne", "Germany"),
    code("_TS_CO_Country_CtedIvoire", "Côte d’Ivoire", "Ivory Coast"),
    code("_TS_CO_Country_Espagne", "Espagne", "Spain"),
];

pub(crate) const REGIONS: &[Code] = &[
    code("_TS_CO_JobRegion_IledeFrance", "Ile-de-France", "Paris region"),
    code("_TS_CO_JobRegion_AuvergneRhneAlpes", "Auvergne-Rhône-Alpes", "Auvergne-Rhone-Alps"),
    code("_TS_CO_JobRegion_Bretagne", "Bretagne", "Brittany"),
    code("_TS_CO_JobRegion_NouvelleAquitaine", "Nouvelle-Aquitaine", "New Aquitaine"),
    code("_TS_CO_JobRegion_Occitanie", "Occitanie", "Occitania"),
    code("_TS_CO_JobRegion_HautsdeFrance", "Hauts-de-France", "Upper France"),
    code("_TS_CO_Region_DOM", "Départements d’outre-mer", "Overseas departments"),
    code("R24", "Grand Londres", "Greater London"),
];

pub(crate) const DEPARTMENTS: &[Code] = &[
    code("_TS_CO_Department_Paris75", "Paris (75)", "Paris (75)"),
    code("_TS_CO_Department_HautsdeSeine92", "Hauts-de-Seine (92)", "Hauts-de-Seine (92)"),
    code("_TS_CO_Department_Rhne69", "Rhône (69)", "Rhone (69)"),
    code("_TS_CO_Department_IlleetVilaine35", "Ille-et-Vilaine (35)", "Ille-et-Vilaine (35)"),
    code("_TS_CO_Department_Gironde33", "Gironde (33)", "Gironde (33)"),
    code("_TS_CO_Department_HauteGaronne31", "Haute-Garonne (31)", "Haute-Garonne (31)"),
    code("_TS_CO_Department_Nord59", "Nord (59)", "Nord (59)"),
    code("_TS_CO_Department_LaRunion974", "La Réunion (974)", "Reunion Island (974)"),
];

pub(crate) const AREAS: &[Code] = &[
    code("_TS_CO_GeographicalArea_Europe", "Europe", "Europe"),
    code("_TS_CO_GeographicalArea_Afrique", "Afrique", "Africa"),
    code("_TS_CO_GeographicalArea_Asie", "Asie", "Asia"),
    code("_TS_CO_GeographicalArea_AmriquesCaraibe", "Amériques, Caraïbe", "Americas, Caribbean"),
    code("_TS_CO_GeographicalArea_Ocanie", "Océanie", "Oceania"),
    code(
        "_TS_CO_GeographicalArea_MoyenOrientAfriqueduNord",
        "Moyen-Orient, Afrique du Nord",
        "Middle East, North Africa",
    ),
];

pub(crate) const CONTRACTS: &[Code] = &[
    code("_TS_CO_Contract_CDI", "CDI", "Permanent"),
    code("_TS_CO_Contract_CDD", "CDD", "Fixed term"),
    code("_TS_CO_Contract_Stage", "Stage", "Internship"),
    code("_TS_CO_Contract_Alternance", "Alternance", "Work-study"),
    code("_TS_CO_Contract_CIFRE", "CIFRE", "Industrial doctorate"),
    code("_TS_CO_Contract_VIE", "VIE", "International volunteer"),
    code("_TS_F53935EC-1F4B-4A70-9C6D-3B8A77E0D512", "Intérim", "Temporary"),
];

pub(crate) const JOB_TIMES: &[Code] = &[
    code("_TS_CO_JobTime_TempsPlein", "Temps plein", "Full time"),
    code("_TS_CO_JobTime_TempsPartiel", "Temps partiel", "Part time"),
    code("41", "Horaires décalés", "Shift work"),
];

pub(crate) const SALARIES: &[Code] = &[
    code("_TS_CO_SalaryRange_2530K", "25-30 k€", "EUR 25-30k"),
    code("_TS_CO_SalaryRange_3040K", "30-40 k€", "EUR 30-40k"),
    code("_TS_CO_SalaryRange_4050K", "40-50 k€", "EUR 40-50k"),
    code("_TS_CO_SalaryRange_5070K", "50-70 k€", "EUR 50-70k"),
];

pub(crate) const PROFESSIONAL_CATEGORIES: &[Code] = &[
    code("_TS_CSP_ingenieur_et_cadre", "Ingénieur et cadre", "Engineers and managers"),
    code("_TS_CSP_technicien", "Technicien et agent de maîtrise", "Technicians and supervisors"),
    code("CAT-A", "Catégorie A", "Category A"),
    code("_TS_CSP_employe", "Employé", "Clerical staff"),
];

pub(crate) const EXPERIENCE_LEVELS: &[Code] = &[
    code("_TS_niveau_exp_premiere_exp", "Première expérience", "First job"),
    code("_TS_niveau_exp_superieur_3ans ", "Supérieur à 3 ans", "More than 3 years"),
    code("_TS_niveau_exp_5ans", "5 ans", "5 years"),
    code("_TS_niveau_exp_8ans", "8 ans", "8 years"),
    code("_TS_CO_ExperienceLevel_6ansouplus", "6 ans ou plus", "6 years or more"),
    code("_TS_CO_ExperienceLevel_Nonrenseign", "Non renseigné", "Not given"),
];

pub(crate) const EDUCATION_LEVELS: &[Code] = &[
    code("_TS_etude_min_Aucun_diplome", "Aucun diplôme", "No diploma"),
    code("_TS_etude_min_CAP_BEP", "CAP, BEP", "Vocational certificate"),
    code("_TS_etude_min_BAC", "Bac", "Secondary school"),
    code("_TS_etude_min_BAC2", "Bac+2", "Two years of university"),
    code("_TS_etude_min_Licence", "Licence", "Bachelor"),
    code("_TS_etude_min_BAC5", "Bac+5", "Master"),
    code("_TS_etude_min_DOCTORAT", "Doctorat", "Doctorate"),
];

pub(crate) const DIPLOMAS: &[Code] = &[
    code("_TS_CO_Diploma_Ingenieur", "Diplôme d’ingénieur", "Engineering degree"),
    code("_TS_6F1B3A52-0E6D-4C0B-9C7E-2A4D5B9E8F10", "Master", "Master’s degree"),
    code("_TS_CO_Diploma_BTS", "BTS", "Higher technician certificate"),
    code("_TS_CO_Diploma_DEI", "Diplôme d’État d’infirmier", "State nursing diploma"),
];

pub(crate) const SPECIALISATIONS: &[Code] = &[
    code("_TS_CO_Specialisation_Informatique", "Informatique", "Computing"),
    code("_TS_CO_Specialisation_Finance", "Finance", "Finance"),
    code("_TS_CO_Specialisation_Sant", "Santé", "Health"),
    code("_TS_CO_Specialisation_Mcanique", "Mécanique", "Mechanics"),
];

pub(crate) const LANGUAGES: &[Code] = &[
    code("_TS_CO_Language_Franais", "Français", "French"),
    code("_TS_CO_Language_Anglais", "Anglais", "English"),
    code("_TS_CO_Language_Allemand", "Allemand", "German"),
    code("_TS_CO_Language_Espagnol", "Espagnol", "Spanish"),
];

pub(crate) const LANGUAGE_LEVELS: &[Code] = &[
    code("_TS_CO_LanguageLevel_Courant", "Courant", "Fluent"),
    code("_TS_CO_LanguageLevel_Professionnel", "Professionnel", "Professional"),
    code("_TS_CO_LanguageLevel_Notions", "Notions", "Basic"),
];

pub(crate) const CIVILITIES: &[Code] = &[
    code("_TS_CO_Civility_Monsieur", "Monsieur", "Mr"),
    code("_TS_CO_Civility_Mrs ", "Madame", "Mrs"),
    code("_TS_CO_Civility_Mme", "Mme", "Ms"),
    code("_TS_CO_Civility_Dr", "Docteur", "Dr"),
];

pub(crate) const APPLICANT_STATUSES: &[Code] = &[
    code("_TS_CO_ApplicantStatus_Actif", "Actif", "Active"),
    code("_TS_CO_ApplicantStatus_EnCours", "En cours", "In progress"),
    code("_TS_CO_ApplicantStatus_Recrut", "Recruté", "Hired"),
];

pub(crate) const VACANCY_CATEGORIES: &[Code] = &[
    code("_TS_CO_OfferCategory_Standard", "Standard", "Standard"),
    code("_TS_CO_OfferCategory_Confidentielle", "Confidentielle", "Confidential"),
];

pub(crate) const ORGANISATIONS: &[Code] = &[
    code("ORG-SIEGE", "Siège", "Head office"),
    code("ORG-01 Île-de-France", "Agence Île-de-France", "Paris branch"),
    code("_TS_0B6E4C1D-93A2-4D57-8F1E-6C2A7B5D9E31", "Pôle numérique", "Digital division"),
    code("FRA", "Filiale France", "French subsidiary"),
];

pub(crate) const MEDIA: &[Code] = &[
    code("_TS_CO_Media_Internet", "Site carrières", "Careers site"),
    code("_TS_CO_Media_Intranet", "Intranet", "Intranet"),
];

pub(crate) const APPLICATION_EVENTS: &[Code] = &[
    code("_TS_CO_ApplicationEvent_Reception", "Candidature reçue", "Application received"),
    code("_TS_CO_ApplicationEvent_Entretien", "Entretien", "Interview"),
    code("_TS_CO_ApplicationEvent_Refus", "Refus", "Rejection"),
];

pub(crate) const CUSTOM_TABLE: &[Code] = &[
    code("T1", "Télétravail possible", "Remote work possible"),
    code("T2", "Déplacements fréquents", "Frequent travel"),
    code("T3 ", "Astreintes", "On call"),
];

#[cfg(test)]
mod tests {
    use super::category;

    #[test]
    fn ids_are_unique_within_a_category() {
        for name in ["countries", "contracttypes", "profiles", "skills", "vacancystatuses"] {
            let list = category(name).expect("a category");
            let ids: std::collections::HashSet<_> = list.iter().map(|code| code.id).collect();
            assert_eq!(ids.len(), list.len(), "{name}");
        }
        assert!(category("colours").is_none());
    }
}
