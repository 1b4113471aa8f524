insert into replica (id, seen_until) values (gen_random_uuid(), '2026-01-05 10:10Z');
insert into tenant_state (tenant, paused_fetch_at, pause_reason) values ('acme', '2026-01-05 10:00Z', 'audit');
