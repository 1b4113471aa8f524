insert into refusal_count (minute, tenant, reason, count) values ('2026-01-05 10:00Z', 'acme', 'signature', 3);
insert into refusal (refused_at, tenant, reason, method, path, peer) values
  ('2026-01-05 10:00Z', 'acme', 'signature', 'POST', '/api/talentsoft/v1/acme/events', '192.0.2.1');
