insert into document (tenant, kind, key, read_number, searchable, title, language, status, created, modified, coded, raw,
                      indexed_at, search) values
  ('acme', 'vacancy', 'V-1', 11, true, 'Soudeur', 1036, '_TS_CO_OfferStatus_Published', '2026-01-04T10:00:00',
   '2026-01-05T10:00:00', '[{"field":"contractType","id":"CDI","label":"CDI"},{"field":"status","id":"Published","label":null}]',
   '{"reference":"V-1","title":"Soudeur"}', '2026-01-05 10:00Z', setweight(folded_words('french', 'soudeur'), 'A'));
insert into referential (tenant, category, id, label, labels, raw, read_at) values
  ('acme', 'contracts', 'CDI', 'CDI', '{"1036":"CDI"}', '{"code":"CDI"}', '2026-01-05 10:00Z');
insert into referential_category (tenant, category, read_at, items, refused) values
  ('acme', 'contracts', '2026-01-05 10:00Z', 1, null), ('acme', 'none', '2026-01-05 10:00Z', 0, 'no such list');
