-- The resumes of candidates, for tenants whose settings ask for them.

create table attachment (
  tenant      text not null,
  key         text not null,
  id          text not null,
  read_number bigint not null,
  name        text not null,
  mime_type   text not null,
  size        integer not null,
  content     bytea not null,
  kept_at     timestamptz not null,
  constraint attachment_pkey primary key (tenant, key, id),
  constraint attachment_size check (size = octet_length(content))
);
comment on table attachment is 'One row per kept resume; deleted with the candidate it is of.';
comment on column attachment.tenant is 'Name of the tenant in the settings.';
comment on column attachment.key is 'Id of the candidate it is of, verbatim.';
comment on column attachment.id is 'Cegid''s id of the file, verbatim.';
comment on column attachment.read_number is 'The last read that showed it.';
comment on column attachment.name is 'File name as received: data, and no path.';
comment on column attachment.mime_type is 'One of the types that the settings allow.';
comment on column attachment.size is 'Bytes of the content.';
comment on column attachment.content is 'The file as received.';
comment on column attachment.kept_at is 'When this content was written.';

-- Resumes are compressed by their own formats: another attempt costs time and saves nothing.
alter table attachment alter column content set storage external;
