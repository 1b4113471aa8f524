//! The trades people are hired for: titles, profiles, skills and tasks.

use super::codes::Code;

/// One trade, in both languages of the tenant.
#[derive(Debug)]
pub(crate) struct Trade {
    pub(crate) fr: &'static str,
    pub(crate) en: &'static str,
    /// Place in [`PROFILES`].
    pub(crate) profile: usize,
    /// Places in [`SKILLS`].
    pub(crate) skills: &'static [usize],
    pub(crate) task_fr: &'static str,
    pub(crate) task_en: &'static str,
}

const fn code(id: &'static str, fr: &'static str, en: &'static str) -> Code {
    Code { id, fr, en }
}

pub(crate) const PROFILES: &[Code] = &[
    code("_TS_metier_profil_RH", "Ressources humaines", "Human resources"),
    code("_TS_metier_profil_Informatique", "Informatique", "Information technology"),
    code("_TS_metier_profil_Sante", "Santé", "Health care"),
    code("_TS_metier_profil_Finance", "Finance et comptabilité", "Finance and accounting"),
    code("_TS_metier_profil_Commerce", "Commerce", "Sales"),
    code("_TS_metier_profil_Industrie", "Industrie", "Manufacturing"),
    code("FEP4C9E7A10-5D2B-4F63-8A91-0E3B6C7D8F24", "LOGISTIQUE", "LOGISTICS"),
    code("_TS_metier_profil_Juridique", "Juridique", "Legal"),
];

pub(crate) const SKILLS: &[Code] = &[
    code("_TS_CO_Skill_C++", "C++", "C++"),
    code("_TS_CO_Skill_CSharp", "C#", "C#"),
    code("_TS_CO_Skill_DotNet", ".NET", ".NET"),
    code("_TS_CO_Skill_Rust", "Rust", "Rust"),
    code("_TS_CO_Skill_SQL", "SQL", "SQL"),
    code("_TS_CO_Skill_BusinessObjects", "Business Objects", "Business Objects"),
    code("_TS_CO_Skill_Paie", "Paie", "Payroll"),
    code("_TS_CO_Skill_DroitSocial", "Droit social", "Labour law"),
    code("_TS_CO_Skill_SoinsIntensifs", "Soins intensifs", "Intensive care"),
    code("_TS_CO_Skill_Hygine", "Hygiène hospitalière", "Hospital hygiene"),
    code("_TS_CO_Skill_IFRS", "Normes IFRS", "IFRS standards"),
    code("_TS_CO_Skill_ContrleGestion", "Contrôle de gestion", "Management control"),
    code("_TS_CO_Skill_Ngociation", "Négociation", "Negotiation"),
    code("_TS_CO_Skill_CRM", "CRM", "CRM"),
    code("_TS_CO_Skill_Soudure", "Soudure TIG/MIG", "TIG/MIG welding"),
    code("_TS_CO_Skill_CAO", "CAO (CATIA, SolidWorks)", "CAD (CATIA, SolidWorks)"),
    code("_TS_CO_Skill_CACES", "CACES 1, 3, 5", "Forklift licence"),
    code("_TS_CO_Skill_Kubernetes", "Kubernetes", "Kubernetes"),
    code("_TS_CO_Skill_Rédaction", "Rédaction d’actes", "Drafting of deeds"),
];

const fn trade(
    (fr, en): (&'static str, &'static str),
    profile: usize,
    skills: &'static [usize],
    (task_fr, task_en): (&'static str, &'static str),
) -> Trade {
    Trade { fr, en, profile, skills, task_fr, task_en }
}

pub(crate) const TRADES: &[Trade] = &[
    trade(
        ("Développeur C++ H/F", "C++ developer"),
        1,
        &[0, 3, 4],
        (
            "Vous développez en C++ le moteur de calcul temps réel et en mesurez les performances",
            "You develop our real-time computing engine in C++ and measure how fast it is",
        ),
    ),
    trade(
        ("Développeur C# / .NET H/F", "C# / .NET developer"),
        1,
        &[1, 2, 4],
        (
            "Vous faites évoluer les applications métier en C# et .NET avec les équipes produit",
            "You extend our business applications in C# and .NET with the product teams",
        ),
    ),
    trade(
        ("Ingénieur fiabilité (SRE) H/F", "Site reliability engineer"),
        1,
        &[3, 4, 17],
        (
            "Vous exploitez la plateforme Kubernetes et réduisez les causes d’incident",
            "You run the Kubernetes platform and remove the causes of incidents",
        ),
    ),
    trade(
        ("Analyste décisionnel H/F", "Business intelligence analyst"),
        1,
        &[4, 5],
        (
            "Vous concevez les tableaux de bord de la direction et fiabilisez les données",
            "You design the management dashboards and make the data dependable",
        ),
    ),
    trade(
        ("Gestionnaire de paie H/F", "Payroll officer"),
        0,
        &[6, 7],
        (
            "Vous établissez la paie de 400 salariés et les déclarations sociales",
            "You prepare the payroll of 400 employees and the social declarations",
        ),
    ),
    trade(
        ("Chargé de recrutement H/F", "Recruitment officer"),
        0,
        &[7, 12],
        (
            "Vous menez les entretiens et suivez l’intégration des nouveaux arrivants",
            "You hold the interviews and follow the first months of new colleagues",
        ),
    ),
    trade(
        ("Infirmier en réanimation H/F", "Intensive care nurse"),
        2,
        &[8, 9],
        (
            "Vous assurez les soins et la surveillance des patients en réanimation",
            "You care for and watch over the patients of the intensive care unit",
        ),
    ),
    trade(
        ("Aide-soignant de nuit H/F", "Night care assistant"),
        2,
        &[9],
        (
            "Vous accompagnez les résidents dans les gestes de la vie quotidienne",
            "You help the residents with the gestures of daily life",
        ),
    ),
    trade(
        ("Contrôleur de gestion H/F", "Financial controller"),
        3,
        &[10, 11, 5],
        (
            "Vous construisez le budget et expliquez les écarts mensuels",
            "You build the budget and explain the monthly variances",
        ),
    ),
    trade(
        ("Comptable fournisseurs H/F", "Accounts payable accountant"),
        3,
        &[10, 4],
        (
            "Vous contrôlez et réglez les factures des fournisseurs",
            "You check and settle the invoices of our suppliers",
        ),
    ),
    trade(
        ("Ingénieur commercial grands comptes H/F", "Key account manager"),
        4,
        &[12, 13],
        (
            "Vous développez un portefeuille de grands comptes et négociez les contrats-cadres",
            "You develop a portfolio of key accounts and negotiate the framework contracts",
        ),
    ),
    trade(
        ("Conseiller de vente H/F", "Sales assistant"),
        4,
        &[12],
        ("Vous accueillez les clients et tenez le rayon", "You welcome the customers and keep the department in order"),
    ),
    trade(
        ("Soudeur H/F", "Welder"),
        5,
        &[14],
        (
            "Vous assemblez des pièces de chaudronnerie et contrôlez vos cordons",
            "You assemble boilerwork parts and inspect your own welds",
        ),
    ),
    trade(
        ("Concepteur mécanique H/F", "Mechanical designer"),
        5,
        &[15, 0],
        (
            "Vous modélisez les sous-ensembles et en préparez l’industrialisation",
            "You model the sub-assemblies and prepare their industrialisation",
        ),
    ),
    trade(
        ("Préparateur de commandes H/F", "Order picker"),
        6,
        &[16],
        ("Vous préparez les commandes et chargez les camions", "You prepare the orders and load the lorries"),
    ),
    trade(
        ("Responsable d’entrepôt H/F", "Warehouse manager"),
        6,
        &[16, 12],
        (
            "Vous animez une équipe de vingt personnes et tenez les délais",
            "You lead a team of twenty people and keep the deadlines",
        ),
    ),
    trade(
        ("Juriste droit social H/F", "Labour lawyer"),
        7,
        &[7, 18],
        (
            "Vous conseillez les directions et suivez les contentieux",
            "You advise the departments and follow the disputes",
        ),
    ),
    trade(
        ("Assistant de direction H/F", "Executive assistant"),
        0,
        &[18],
        (
            "Vous organisez l’agenda, les déplacements et les comptes rendus",
            "You keep the diary, the journeys and the minutes",
        ),
    ),
];
