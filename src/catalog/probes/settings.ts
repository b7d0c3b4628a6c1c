import { key, label } from '../columns.js';
import type { ProbeDefinition } from '../types.js';

/**
 * All server settings. The agent's own session sets a few of them by SET, so the value RESET would give is the server's.
 * What it had to send with its start packet (lock_timeout) hides the server's value and is NULL. What belongs to one session
 * only is left out; passwords inside values are masked before they leave the server.
 */
const text = String.raw`SELECT name,
       CASE WHEN name = 'ssl_passphrase_command' AND v <> '' THEN '***'
            ELSE regexp_replace(regexp_replace(v, 'password\s*=\s*(''([^''\\]|\\.)*''|(\\.|\S)+)', 'password=***', 'gi'),
                                '(://[^:/@\s]+):[^@\s]+@', '\1:***@', 'g') END AS setting,
       unit, category, context, vartype, source, boot_val, sourcefile, sourceline, pending_restart
  FROM (SELECT name, CASE source WHEN 'session' THEN reset_val WHEN 'client' THEN NULL ELSE setting END AS v, unit, category, context, vartype,
               CASE WHEN source = 'session' THEN NULL ELSE source END AS source, boot_val, sourcefile, sourceline, pending_restart
          FROM pg_settings
         WHERE name NOT LIKE 'transaction\_%' AND name NOT IN ('application_name', 'client_encoding', 'seed')) s`;

export const settings: ProbeDefinition = {
  name: 'settings',
  title: 'Settings',
  description:
    'Every server setting with its source; only changes travel. Passwords inside values are masked on the server.',
  version: 1,
  level: 'server',
  collector: 'sql',
  columns: [
    key('name', 'text', 'Setting'),
    label('setting', 'text', 'Value'),
    label('unit', 'text', 'Unit'),
    label('category', 'text', 'Category'),
    label('context', 'text', 'Context'),
    label('vartype', 'text', 'Type'),
    label('source', 'text', 'Source'),
    label('boot_val', 'text', 'Built-in value'),
    label('sourcefile', 'text', 'File'),
    label('sourceline', 'int4', 'Line'),
    label('pending_restart', 'bool', 'Restart pending'),
  ],
  sql: [{ minVersion: 130000, text }],
  mode: 'delta',
  history: true,
  intervalMs: 60_000,
  retentionDays: 365,
  partition: 'month',
};
