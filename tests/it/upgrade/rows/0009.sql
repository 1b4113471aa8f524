insert into hook (tenant, event, hook_id, callback_url, ping_url, registered_at, state, leaving_at) values
  ('acme', 'vacancy_deleted', 'h4', 'https://b.example/e', 'https://b.example/p', '2026-01-05 10:00Z', 'leaving', '2026-01-07 10:00Z');
insert into hook_tenant (tenant, heard_at, heard_until) values ('acme', '2026-01-05 10:00Z', '2026-01-05 10:05Z');
