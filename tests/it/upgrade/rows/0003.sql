insert into tenant_lease (tenant, holder, token, held_until) values
  ('acme', gen_random_uuid(), nextval('request_number'), '2026-01-05 10:10Z');
