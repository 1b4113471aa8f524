//! Names, places and sentences that records are put together from.

pub(crate) const FIRST_NAMES: &[&str] = &[
    "Aïcha",
    "Alexandre",
    "Amélie",
    "Anaïs",
    "Benoît",
    "Camille",
    "Chloé",
    "David",
    "Élodie",
    "Emma",
    "Éric",
    "Fatou",
    "François",
    "Gaëlle",
    "George",
    "Hélène",
    "Hugo",
    "Inès",
    "James",
    "Jean-Baptiste",
    "Jérôme",
    "Julie",
    "Karim",
    "Laëtitia",
    "Léa",
    "Loïc",
    "Lucas",
    "Manon",
    "Mary",
    "Mathilde",
    "Maxime",
    "Mehdi",
    "Naïma",
    "Nicolas",
    "Noémie",
    "Olivier",
    "Pauline",
    "Quentin",
    "Rachel",
    "Raphaël",
    "Romain",
    "Sarah",
    "Sébastien",
    "Sofia",
    "Thomas",
    "Théo",
    "Valérie",
    "William",
    "Yann",
    "Zoé",
];

pub(crate) const LAST_NAMES: &[&str] = &[
    "Martin",
    "Bernard",
    "Dubois",
    "Thomas",
    "Robert",
    "Petit",
    "Durand",
    "Leroy",
    "Moreau",
    "Lefèvre",
    "Garcia",
    "Roux",
    "Fournier",
    "Girard",
    "Bonnet",
    "Dupont",
    "Lambert",
    "Fontaine",
    "Rousseau",
    "Vincent",
    "Müller",
    "Faure",
    "Mercier",
    "Blanc",
    "Guérin",
    "Boyer",
    "Garnier",
    "Chevalier",
    "François",
    "Legrand",
    "Gauthier",
    "Le Gall",
    "Perrin",
    "Robin",
    "Clément",
    "Morin",
    "Nicolas",
    "Henry",
    "Roussel",
    "Mathieu",
    "N’Diaye",
    "O’Connor",
    "Smith",
    "Taylor",
    "Nguyễn",
    "Da Silva",
    "Lemaître",
    "Châtelain",
    "Peña",
    "de La Tour",
];

/// A place: city, postal code, place in the lists of regions and departments,
/// latitude and longitude.
pub(crate) type City = (&'static str, &'static str, usize, usize, f64, f64);

pub(crate) const CITIES: &[City] = &[
    ("Paris", "75011", 0, 0, 48.8566, 2.3522),
    ("Nanterre", "92000", 0, 1, 48.8924, 2.2153),
    ("Lyon", "69003", 1, 2, 45.764, 4.8357),
    ("Rennes", "35000", 2, 3, 48.1173, -1.6778),
    ("Bordeaux", "33000", 3, 4, 44.8378, -0.5792),
    ("Toulouse", "31000", 4, 5, 43.6047, 1.4442),
    ("Lille", "59000", 5, 6, 50.6292, 3.0573),
    ("Saint-Denis", "97400", 6, 7, -20.8789, 55.4481),
];

pub(crate) const STREETS: &[&str] = &[
    "rue de la République",
    "avenue Jean-Jaurès",
    "place de l’Église",
    "quai des Célestins",
    "boulevard Voltaire",
    "impasse des Lilas",
];

pub(crate) const COMPANIES: &[&str] = &[
    "Ateliers du Ponant",
    "Banque des Deux Rives",
    "Clinique Sainte-Odile",
    "Énergies & Réseaux",
    "Fonderie Morvan",
    "Groupe Hélios",
    "Maison Delaunay",
    "Northgate Ltd",
    "Région Bretagne",
    "Transports Léman",
];

pub(crate) const SCHOOLS: &[&str] = &[
    "Université de Rennes",
    "INSA Lyon",
    "École centrale de Nantes",
    "IUT de Bordeaux",
    "Lycée Jules-Ferry",
    "University of Leeds",
    "IFSI de Toulouse",
];

pub(crate) const PITCH_FR: &[&str] = &[
    "Rattaché au responsable du service, vous bénéficiez d’un accompagnement à la prise de poste.",
    "Au sein d’une équipe à taille humaine, vous disposez d’une large autonomie.",
    "Le poste est basé dans nos locaux, avec deux jours de télétravail par semaine.",
    "Des déplacements ponctuels sont à prévoir (1 à 2 fois par mois).",
    "Vous participez à l’amélioration continue & à la transmission des savoir-faire.",
];

pub(crate) const PITCH_EN: &[&str] = &[
    "You report to the head of department and are well supported in your first months.",
    "You join a team of a human size and enjoy a great deal of freedom.",
    "The job is in our offices, with two days a week from home.",
    "Expect to travel once or twice a month.",
    "You take part in improving how we work & in passing on what we know.",
];

pub(crate) const PROFILE_FR: &[&str] = &[
    "Une première expérience réussie sur un poste similaire est appréciée.",
    "Rigueur, écoute et esprit d’équipe sont vos atouts.",
    "À l’aise à l’oral comme à l’écrit, vous savez convaincre.",
    "Le permis B est indispensable.",
];

pub(crate) const PROFILE_EN: &[&str] = &[
    "A first job in a similar role is a plus.",
    "You are thorough, you listen and you like working with others.",
    "You are at ease in speech and in writing.",
    "A driving licence is required.",
];

/// Plain text as the editor's HTML variant writes it: paragraphs, line breaks
/// and named entities.
pub(crate) fn html(text: &str) -> String {
    let mut html = String::with_capacity(text.len() + text.len() / 4 + 7);
    html.push_str("<p>");
    for character in text.chars() {
        html.push_str(match character {
            '\r' => "",
            '\n' => "<br />",
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            'é' => "&eacute;",
            'è' => "&egrave;",
            'ê' => "&ecirc;",
            'à' => "&agrave;",
            'â' => "&acirc;",
            'ç' => "&ccedil;",
            'ô' => "&ocirc;",
            'î' => "&icirc;",
            'ï' => "&iuml;",
            'ù' => "&ugrave;",
            'É' => "&Eacute;",
            'À' => "&Agrave;",
            'œ' => "&oelig;",
            '’' => "&rsquo;",
            '€' => "&euro;",
            other => {
                html.push(other);
                continue;
            }
        });
    }
    html.push_str("</p>");
    html
}

#[cfg(test)]
mod tests {
    use super::html;

    #[test]
    fn html_has_entities_and_line_breaks() {
        assert_eq!(html("Été & C++\r\nl’œuvre"), "<p>&Eacute;t&eacute; &amp; C++<br />l&rsquo;&oelig;uvre</p>");
    }
}
