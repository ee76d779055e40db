/**
 * What the texts that a job leaves behind have in common: its request (RFC 14), its eventlog (RFC 18, 21), the log of its
 * execution, the beginning of its output (RFC 24). `blob-packing.ts` compresses with it. What is most frequent comes last.
 *
 * It must never change: blobs that were compressed with it could not be read any more.
 */
const LINES: readonly string[] = [
  '{"resources":[{"type":"node","count":1,"exclusive":true,"with":[{"type":"slot","count":1,"with":[{"type":"core",' +
    '"count":1},{"type":"gpu","count":1}],"label":"task"}]}],"tasks":[{"command":["',
  '{"resources":[{"type":"slot","count":1,"with":[{"type":"core","count":1}],"label":"task"}],"tasks":[{"command":["',
  '"],"slot":"task","count":{"per_slot":1}}],"attributes":{"system":{"duration":0,"dependencies":[{"scheme":"afterok",' +
    '"value":"queue":"batch","job":{"name":"environment":{"PATH":"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:' +
    '/sbin:/bin","HOME":"/home/","/root","USER":"LOGNAME":"SHELL":"/bin/bash","SHLVL":"1","TERM":"xterm-256color",' +
    '"LANG":"en_US.UTF-8","LC_ALL":"C.UTF-8","PWD":"OLDPWD":"HOSTNAME":"EDITOR":"MAIL":"/var/mail/","DISPLAY":":0",' +
    '"XDG_RUNTIME_DIR":"/run/user/1000","XDG_SESSION_ID":"XDG_SESSION_TYPE":"XDG_DATA_DIRS":"DBUS_SESSION_BUS_ADDRESS":' +
    '"unix:path=/run/user/1000/bus","SSH_CONNECTION":"SSH_CLIENT":"SSH_TTY":"/dev/pts/0","SSH_AUTH_SOCK":"/tmp/ssh-",' +
    '"MODULEPATH":"/usr/share/modulefiles","LOADEDMODULES":"MANPATH":"LD_LIBRARY_PATH":"/usr/lib/x86_64-linux-gnu",' +
    '"PYTHONPATH":"/lib/python3/site-packages","VIRTUAL_ENV":"CONDA_PREFIX":"OMP_NUM_THREADS":"1","TMPDIR":"/tmp",' +
    '"SSL_CERT_FILE":"/etc/ssl/certs/ca-certificates.crt","PYTHONUNBUFFERED":"1","LESSOPEN":"| /usr/bin/lesspipe %s",' +
    '"_":"/usr/bin/flux","FLUX_URI":"local:///tmp/flux-","/local-0"},"cwd":"/home/","shell":{"options":{"rlimit":{' +
    '"cpu":-1,"fsize":-1,"data":-1,"stack":8388608,"core":0,"rss":-1,"nproc":127000,"nofile":1024,"ofile":1048576,' +
    '"as":-1},"verbose":1,"output":{"stdout":{"type":"file","path":"mpi":"none","cpu-affinity":"on"}}}},"user":{}},' +
    '"version":1}',
  '{"timestamp":1700000000.1234567,"name":"log","context":{"rank":0,"level":1,"component":"message":"',
  '{"timestamp":1700000000.1234567,"name":"header","context":{"version":1,"encoding":{"stdout":"UTF-8","stderr":' +
    '"UTF-8"},"count":{"stdout":1,"stderr":1},"options":{}}}\n' +
    '{"timestamp":1700000000.1234567,"name":"data","context":{"stream":"stdout","rank":"0","data":"',
  '{"timestamp":1700000000.1234567,"name":"data","context":{"stream":"stdout","rank":"0","eof":true}}\n' +
    '{"timestamp":1700000000.1234567,"name":"data","context":{"stream":"stderr","rank":"0","eof":true}}\n',
  '{"timestamp":1700000000.1234567,"name":"init"}\n' +
    '{"timestamp":1700000000.1234567,"name":"starting"}\n' +
    '{"timestamp":1700000000.1234567,"name":"shell.init","context":{"service":"0-shell-f","leader-rank":0,"size":1}}\n' +
    '{"timestamp":1700000000.1234567,"name":"shell.start","context":{"taskmap":{"version":1,"map":[[0,1,1,1]]}}}\n' +
    '{"timestamp":1700000000.1234567,"name":"shell.task-exit","context":{"localid":0,"rank":0,"state":"Exited","pid":' +
    '10000,"wait_status":0,"signaled":0,"exitcode":0}}\n' +
    '{"timestamp":1700000000.1234567,"name":"shell-exit","context":{"rank":0,"wait_status":0}}\n' +
    '{"timestamp":1700000000.1234567,"name":"complete","context":{"status":0}}\n' +
    '{"timestamp":1700000000.1234567,"name":"done"}\n',
  '{"timestamp":1700000000.1234567,"name":"dependency-add","context":{"description":"after',
  '{"timestamp":1700000000.1234567,"name":"exception","context":{"type":"cancel","severity":0,"note":"","userid":0}}\n',
  '{"timestamp":1700000000.1234567,"name":"jobspec-update","context":{"attributes.system.',
  '{"timestamp":1700000000.1234567,"name":"submit","context":{"userid":0,"urgency":16,"flags":0,"version":1}}\n' +
    '{"timestamp":1700000000.1234567,"name":"validate"}\n' +
    '{"timestamp":1700000000.1234567,"name":"depend"}\n' +
    '{"timestamp":1700000000.1234567,"name":"priority","context":{"priority":16}}\n' +
    '{"timestamp":1700000000.1234567,"name":"alloc","context":{"annotations":{"sched":{"resource_summary":"rank0/core0"' +
    "}}}}\n" +
    '{"timestamp":1700000000.1234567,"name":"start"}\n' +
    '{"timestamp":1700000000.1234567,"name":"finish","context":{"status":0}}\n' +
    '{"timestamp":1700000000.1234567,"name":"release","context":{"ranks":"all","final":true}}\n' +
    '{"timestamp":1700000000.1234567,"name":"free"}\n' +
    '{"timestamp":1700000000.1234567,"name":"clean"}\n',
];

export const DICTIONARY_TEXT: string = LINES.join("");
