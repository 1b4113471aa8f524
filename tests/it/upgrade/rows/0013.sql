insert into referential_category (tenant, category, read_at, items, refused) values
  ('acme', 'contracts', '2026-02-05 10:00Z', 1, null);
